//! A certificate authority: certificates for the gateway and its clients, TLS clients, and a way for clients in the clear.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair, SanType};
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use crate::wait::soon;

/// Signs certificates.
pub(crate) struct Authority(CertifiedIssuer<'static, KeyPair>);

/// A certificate with its key, in PEM.
#[derive(Clone)]
pub(crate) struct Certified {
    pub(crate) cert: String,
    pub(crate) key: String,
}

/// The files that the gateway's settings name.
pub(crate) struct Files {
    pub(crate) cert: PathBuf,
    pub(crate) key: PathBuf,
}

impl Files {
    /// Where they are in this directory.
    pub(crate) fn within(directory: &Path) -> Self {
        Self { cert: directory.join("tls.crt"), key: directory.join("tls.key") }
    }

    pub(crate) fn write(&self, certified: &Certified) {
        std::fs::write(&self.cert, &certified.cert).unwrap();
        std::fs::write(&self.key, &certified.key).unwrap();
    }

    pub(crate) fn settings(&self) -> [(&str, &str); 2] {
        let text = |path: &'_ Path| path.to_str().unwrap().to_owned().leak() as &str;
        [("MACP_TLS_CERT_PATH", text(&self.cert)), ("MACP_TLS_KEY_PATH", text(&self.key))]
    }
}

impl Authority {
    pub(crate) fn new(name: &str) -> Self {
        let mut params = CertificateParams::default();
        params.distinguished_name.push(DnType::CommonName, name);
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        Self(CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap())
    }

    /// Its own certificate, in PEM.
    pub(crate) fn pem(&self) -> String {
        self.0.pem()
    }

    /// A certificate of a server on loopback.
    pub(crate) fn server(&self) -> Certified {
        self.sign(CertificateParams::new(["localhost".to_owned(), "127.0.0.1".to_owned()]).unwrap())
    }

    /// A client's certificate with these names: URIs have a scheme, and the others are DNS names.
    pub(crate) fn client(&self, common_name: &str, names: &[&str]) -> Certified {
        let mut params = CertificateParams::default();
        params.distinguished_name.push(DnType::CommonName, common_name);
        params.subject_alt_names = names
            .iter()
            .map(|name| match name.contains("://") {
                true => SanType::URI((*name).try_into().unwrap()),
                false => SanType::DnsName((*name).try_into().unwrap()),
            })
            .collect();
        self.sign(params)
    }

    fn sign(&self, params: CertificateParams) -> Certified {
        let key = KeyPair::generate().unwrap();
        let cert = params.signed_by(&key, &self.0).unwrap();
        Certified { cert: cert.pem(), key: key.serialize_pem() }
    }

    /// A TLS client that trusts it and offers these protocols, and shows this certificate if there is one.
    pub(crate) fn connector(&self, alpn: &[&str], client: Option<&Certified>) -> Dialer {
        let mut roots = RootCertStore::empty();
        roots.add(self.0.der().clone()).unwrap();
        let builder = ClientConfig::builder().with_root_certificates(roots);
        let mut config = match client {
            Some(client) => {
                let chain = vec![CertificateDer::from_pem_slice(client.cert.as_bytes()).unwrap()];
                let key = PrivateKeyDer::from_pem_slice(client.key.as_bytes()).unwrap();
                builder.with_client_auth_cert(chain, key).unwrap()
            }
            None => builder.with_no_client_auth(),
        };
        config.alpn_protocols = alpn.iter().map(|name| name.as_bytes().to_vec()).collect();
        Dialer(TlsConnector::from(Arc::new(config)))
    }
}

/// Opens TLS connections.
#[derive(Clone)]
pub(crate) struct Dialer(TlsConnector);

impl Dialer {
    pub(crate) async fn dial(&self, addr: SocketAddr) -> std::io::Result<TlsStream<TcpStream>> {
        let tcp = soon("a connection", TcpStream::connect(addr)).await?;
        let name = ServerName::try_from("localhost").unwrap();
        soon("a TLS handshake", self.0.connect(name, tcp)).await
    }

    /// A port in the clear whose every connection goes on to `addr` by TLS.
    pub(crate) async fn forward(&self, addr: SocketAddr) -> SocketAddr {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap();
        let dialer = self.clone();
        tokio::spawn(async move {
            while let Ok((mut plain, _)) = listener.accept().await {
                let dialer = dialer.clone();
                tokio::spawn(async move {
                    // Whoever is refused sees its connection end.
                    let Ok(mut tls) = dialer.dial(addr).await else { return };
                    let _ = tokio::io::copy_bidirectional(&mut plain, &mut tls).await;
                });
            }
        });
        port
    }
}
