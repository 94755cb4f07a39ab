//! TLS on the listeners: certificates from files, read again when they change, and the handshake.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use macp_auth::ClientCertificate;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::WebPkiClientVerifier;
use rustls::server::danger::ClientCertVerifier;
use rustls::{RootCertStore, ServerConfig};
use tokio::net::TcpStream;
use tokio::sync::watch;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;
use tokio_util::either::Either;
use tokio_util::sync::CancellationToken;
use x509_cert::Certificate;
use x509_cert::der::Decode as _;

use crate::cli::RunError;
use crate::reload::Changes;
use crate::sniff::Version;

/// What is negotiated, the first that the client has, too. A client that offers neither is told so by TLS; one that
/// negotiates nothing may speak either.
const ALPN: [&[u8]; 2] = [b"h2", b"http/1.1"];

/// The files of TLS.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct TlsFiles {
    /// The certificate and those between it and its authority, in PEM (`MACP_TLS_CERT_PATH`).
    pub(crate) cert: PathBuf,
    /// Its private key, in PEM (`MACP_TLS_KEY_PATH`).
    pub(crate) key: PathBuf,
    /// Whose certificates clients may show.
    pub(crate) clients: Option<ClientCertificates>,
}

/// Certificates of clients.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct ClientCertificates {
    /// The authorities, in PEM (`MACP_TLS_CLIENT_CA_PATH`).
    pub(crate) authorities: PathBuf,
    /// Whether a client without one is refused (`MACP_TLS_CLIENT_AUTH`).
    pub(crate) required: bool,
}

/// What a connection of a listener is read from and written to.
pub(crate) type Io = Either<TcpStream, Box<TlsStream<TcpStream>>>;

/// A connection that can be spoken on.
pub(crate) struct Opened {
    pub(crate) io: Io,
    /// The version that TLS has negotiated.
    pub(crate) negotiated: Option<Version>,
    /// What the client has shown.
    pub(crate) certificate: Option<ClientCertificate>,
}

impl Opened {
    /// A connection in the clear.
    pub(crate) fn plain(stream: TcpStream) -> Self {
        Self { io: Either::Left(stream), negotiated: None, certificate: None }
    }
}

/// What TLS is served with at present. Clones share it.
#[derive(Clone)]
pub(crate) struct Tls(watch::Receiver<Arc<ServerConfig>>);

impl Tls {
    /// Reads the files, and again whenever they change or SIGHUP comes, until `stop`. A connection keeps what it began
    /// with; new files that cannot be used change nothing.
    pub(crate) fn start(files: TlsFiles, stop: CancellationToken) -> Result<Self, RunError> {
        let changes = Changes::of(files.all())?;
        let material = files.load().map_err(|errors| RunError::start("TLS", errors.join("; ")))?;
        material.announce("TLS is served with this certificate");
        let (now, current) = watch::channel(material.config);
        tokio::spawn(async move {
            tokio::select! {
                () = stop.cancelled() => {}
                () = keep_fresh(files, changes, now) => {}
            }
        });
        Ok(Self(current))
    }

    /// Shakes hands. The caller sets the deadline.
    pub(crate) async fn accept(&self, stream: TcpStream) -> io::Result<Opened> {
        let config = Arc::clone(&self.0.borrow());
        let stream = TlsAcceptor::from(config).accept(stream).await?;
        let session = stream.get_ref().1;
        let negotiated = match session.alpn_protocol() {
            Some(b"h2") => Some(Version::Two),
            Some(_) => Some(Version::One),
            None => None,
        };
        let shown = session.peer_certificates().and_then(<[_]>::first);
        let certificate = shown.map(|leaf| ClientCertificate::from_der(leaf));
        Ok(Opened { io: Either::Right(Box::new(stream)), negotiated, certificate })
    }
}

async fn keep_fresh(files: TlsFiles, mut changes: Changes, now: watch::Sender<Arc<ServerConfig>>) {
    loop {
        let cause = changes.next().await;
        let again = files.clone();
        let Ok(loaded) = tokio::task::spawn_blocking(move || again.load()).await else { continue };
        match loaded {
            Ok(material) => {
                // First, so that what the log says holds already.
                now.send_replace(Arc::clone(&material.config));
                material.announce(&format!("certificates were read again for new connections ({cause})"));
            }
            Err(errors) => {
                for error in errors {
                    tracing::error!(%cause, error, "the new certificates cannot be used; those before stay in use");
                }
            }
        }
    }
}

/// What the files come to.
pub(crate) struct Material {
    config: Arc<ServerConfig>,
    /// The server's certificate.
    leaf: CertificateDer<'static>,
}

impl Material {
    fn announce(&self, what: &str) {
        let Ok(leaf) = Certificate::from_der(&self.leaf) else { return tracing::info!("{what}") };
        let leaf = leaf.tbs_certificate();
        let until = leaf.validity().not_after;
        tracing::info!(subject = %leaf.subject(), serial = %leaf.serial_number(), valid_until = %until, "{what}");
        let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
        if until.to_unix_duration() < now {
            tracing::warn!(valid_until = %until, "the certificate has expired: clients will refuse it");
        }
    }
}

impl TlsFiles {
    /// Every file, for who watches them.
    fn all(&self) -> Vec<PathBuf> {
        let authorities = self.clients.as_ref().map(|clients| clients.authorities.clone());
        [self.cert.clone(), self.key.clone()].into_iter().chain(authorities).collect()
    }

    /// Reads everything; what is wrong, all of it, with the settings' names. Never the text of a key.
    pub(crate) fn load(&self) -> Result<Material, Vec<String>> {
        let chain = chain(&self.cert);
        let key = key(&self.key);
        let verifier = self.clients.as_ref().map(ClientCertificates::verifier).transpose();
        let (chain, key, verifier) = match (chain, key, verifier) {
            (Ok(chain), Ok(key), Ok(verifier)) => (chain, key, verifier),
            (chain, key, verifier) => {
                return Err([chain.err(), key.err(), verifier.err()].into_iter().flatten().collect());
            }
        };
        let leaf = chain[0].clone();
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let builder = ServerConfig::builder_with_provider(provider).with_safe_default_protocol_versions();
        let config = builder.and_then(|builder| match verifier {
            Some(verifier) => builder.with_client_cert_verifier(verifier).with_single_cert(chain, key),
            None => builder.with_no_client_auth().with_single_cert(chain, key),
        });
        let mut config = config.map_err(|error| vec![self.why_unusable(&error)])?;
        config.alpn_protocols = ALPN.map(<[u8]>::to_vec).to_vec();
        Ok(Material { config: Arc::new(config), leaf })
    }

    fn why_unusable(&self, error: &rustls::Error) -> String {
        let (cert, key) = (&self.cert, &self.key);
        match error {
            rustls::Error::InconsistentKeys(_) => {
                format!(
                    "MACP_TLS_KEY_PATH={key:?} is not the key of the certificate in MACP_TLS_CERT_PATH={cert:?}"
                )
            }
            error => {
                format!("MACP_TLS_CERT_PATH={cert:?} and MACP_TLS_KEY_PATH={key:?} cannot be used: {error}")
            }
        }
    }
}

impl ClientCertificates {
    fn verifier(&self) -> Result<Arc<dyn ClientCertVerifier>, String> {
        let path = &self.authorities;
        let unusable =
            |why: &dyn std::fmt::Display| format!("MACP_TLS_CLIENT_CA_PATH={path:?} cannot be used: {why}");
        let mut roots = RootCertStore::empty();
        for (number, certificate) in certificates("MACP_TLS_CLIENT_CA_PATH", path)?.into_iter().enumerate() {
            let number = number + 1;
            roots.add(certificate).map_err(|error| unusable(&format!("certificate {number}: {error}")))?;
        }
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let builder = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider);
        let builder = if self.required { builder } else { builder.allow_unauthenticated() };
        builder.build().map_err(|error| unusable(&error))
    }
}

/// At least one certificate.
fn chain(path: &Path) -> Result<Vec<CertificateDer<'static>>, String> {
    certificates("MACP_TLS_CERT_PATH", path)
}

fn certificates(setting: &str, path: &Path) -> Result<Vec<CertificateDer<'static>>, String> {
    let pem = read(setting, path)?;
    let certificates: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&pem).collect();
    let certificates =
        certificates.map_err(|error| format!("{setting}={path:?} is not PEM as it should be: {error}"))?;
    if certificates.is_empty() {
        return Err(format!("{setting}={path:?} holds no certificate (PEM, BEGIN CERTIFICATE)"));
    }
    Ok(certificates)
}

fn key(path: &Path) -> Result<PrivateKeyDer<'static>, String> {
    let pem = read("MACP_TLS_KEY_PATH", path)?;
    // The cause is not told: it can quote the file, which holds a secret.
    PrivateKeyDer::from_pem_slice(&pem).map_err(|_| {
        format!(
            "MACP_TLS_KEY_PATH={path:?} holds no private key that can be read (PEM, BEGIN PRIVATE KEY, RSA PRIVATE KEY \
             or EC PRIVATE KEY, without a passphrase)"
        )
    })
}

fn read(setting: &str, path: &Path) -> Result<Vec<u8>, String> {
    std::fs::read(path).map_err(|error| format!("{setting}={path:?} cannot be read: {error}"))
}
