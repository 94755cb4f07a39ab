//! `GetDecisionReceipt` and `GetReceiptKeys` (RFC-MACP-0013 §13).
//!
//! A receipt is issued on the first call for it and never on the way of a message, so that nothing about receipts can
//! delay or undo a Commitment. The text that is issued is kept beside the session's log and served from there for
//! ever: restarts, key rotation and other settings do not change a receipt, and a receipt issued without a signature
//! stays without one.

use bytes::Bytes;
use macp_kernel::receipt::{self, Issuance, Receipt};
use macp_kernel::{Identity, Refusal, RefusalCode};
use macp_store::{LogStore, StoreError};
use macp_wire::v1::{
    GetDecisionReceiptRequest, GetDecisionReceiptResponse, GetReceiptKeysRequest, GetReceiptKeysResponse,
};
use tokio::sync::Mutex;

use crate::Engine;
use crate::options::ReceiptOptions;
use crate::recovery;

/// Space of the store's side records that holds issued receipts, by session id.
pub const SPACE: &str = "receipts";

/// Makes the first issuer the only one: the store's side records know no exclusive create, so looking and keeping are
/// one step here. Signing and reading history happen before.
#[derive(Debug, Default)]
pub(crate) struct Issuing(Mutex<()>);

impl Issuing {
    /// Keeps a new receipt unless another was first; the one that is kept.
    async fn keep(&self, store: &dyn LogStore, key: &[u8], receipt: String) -> Result<Bytes, StoreError> {
        let _first = self.0.lock().await;
        if let Some(kept) = store.get_side(SPACE, key).await? {
            return Ok(kept);
        }
        let receipt = Bytes::from(receipt);
        store.put_side(SPACE, key, Some(receipt.clone())).await?;
        Ok(receipt)
    }
}

impl Engine {
    /// `GetDecisionReceipt`
    ///
    /// # Errors
    /// `UNAUTHENTICATED`, `SESSION_NOT_FOUND`, `FORBIDDEN`, `RATE_LIMITED`, `RECEIPT_UNAVAILABLE`, `INTERNAL_ERROR`.
    pub async fn get_decision_receipt(
        &self,
        identity: &Identity,
        request: GetDecisionReceiptRequest,
    ) -> Result<GetDecisionReceiptResponse, Refusal> {
        let caller = identity.require()?;
        let sessions = &self.inner.sessions;
        let lane = sessions.lane(&request.session_id).await?;
        let session = lane.look(sessions, caller).await?.metadata;
        self.inner.admission.charge(caller, self.now())?;
        receipt::check(&session.mode, session.state())?;

        let store = sessions.store();
        let kept = store.get_side(SPACE, lane.stream()).await.map_err(|error| not_issued(&error))?;
        let receipt = match kept {
            Some(kept) => kept,
            None => {
                let issued = self.first(store, lane.stream()).await;
                let counters = self.counters();
                match (&issued, self.options().receipts.keys.signs()) {
                    (Ok(_), true) => counters.receipts_signed.inc(),
                    (Ok(_), false) => counters.receipts_unsigned.inc(),
                    (Err(_), _) => counters.receipt_failures.inc(),
                }
                issued?
            }
        };
        let receipt_json = String::from_utf8(receipt.into()).map_err(|error| not_issued(&error))?;
        Ok(GetDecisionReceiptResponse { receipt_json })
    }

    async fn first(&self, store: &dyn LogStore, stream: &Bytes) -> Result<Bytes, Refusal> {
        let receipt = self.issue(store, stream).await?;
        self.inner.receipts.keep(store, stream, receipt).await.map_err(|error| not_issued(&error))
    }

    /// Makes the receipt of a session from its stored history.
    async fn issue(&self, store: &dyn LogStore, stream: &Bytes) -> Result<String, Refusal> {
        let ReceiptOptions { runtime_id, keys } = &self.inner.options.receipts;
        let loaded = recovery::load(store, stream, None).await.map_err(|error| {
            tracing::error!(session = %String::from_utf8_lossy(stream), %error, "no receipt: history is not readable");
            error.refusal()
        })?;
        let session = loaded.hot.session.ok_or_else(Refusal::session_not_found)?;
        let issuance = Issuance { runtime_id: runtime_id.clone(), at: self.now() };
        let receipt = Receipt::of(&session, &issuance)?;
        let signatures: Vec<String> =
            keys.signer().map(|signer| signer.sign(&receipt.body())).into_iter().collect();
        Ok(receipt.document(&signatures))
    }

    /// `GetReceiptKeys`
    ///
    /// # Errors
    /// None.
    #[allow(clippy::unused_async, reason = "every call has one shape")]
    pub async fn get_receipt_keys(
        &self,
        _: &Identity,
        _: GetReceiptKeysRequest,
    ) -> Result<GetReceiptKeysResponse, Refusal> {
        Ok(GetReceiptKeysResponse { jwks_json: self.inner.options.receipts.keys.jwks() })
    }
}

fn not_issued(error: &dyn std::error::Error) -> Refusal {
    tracing::error!(%error, "a receipt cannot be read or kept");
    Refusal::new(
        RefusalCode::InternalError,
        "the receipt cannot be read or kept now; nothing was issued, retry",
    )
}
