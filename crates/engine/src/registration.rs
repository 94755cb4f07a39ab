//! The calls that change the registries of policies and modes (RFC-MACP-0012 §7, RFC-MACP-0002 §12).
//!
//! What the registries' own rules refuse is said in band, `ok = false` with a text; everything about the caller or
//! the request as such is a refusal.

use macp_kernel::{Caller, Identity, Refusal, RefusalCode};
use macp_wire::v1::*;

use crate::Engine;
use crate::method::Method;
use crate::observe;
use crate::registry::{self, Change, ChangeError, Promotion};

impl Engine {
    /// `RegisterPolicy`
    ///
    /// # Errors
    /// `REGISTRY_READ_ONLY`, `UNAUTHENTICATED`, `FORBIDDEN`, `INVALID_REQUEST`, `INTERNAL_ERROR`.
    pub async fn register_policy(
        &self,
        identity: &Identity,
        request: RegisterPolicyRequest,
    ) -> Result<RegisterPolicyResponse, Refusal> {
        self.require_writable_policies()?;
        let by = self.require_registrar(identity)?;
        let descriptor = request
            .policy_descriptor
            .ok_or_else(|| Refusal::invalid_request("RegisterPolicyRequest.policy_descriptor is missing"))?;
        let outcome = match registry::admit_policy(descriptor, self.now()) {
            Ok(admitted) => self.change(Method::RegisterPolicy, by, Change::RegisterPolicy(admitted)).await?,
            Err(error) => Err(error),
        };
        let (ok, error) = in_band(outcome);
        Ok(RegisterPolicyResponse { ok, error })
    }

    /// `UnregisterPolicy`. Sessions that bound the policy keep their copy.
    ///
    /// # Errors
    /// As [`Engine::register_policy`].
    pub async fn unregister_policy(
        &self,
        identity: &Identity,
        request: UnregisterPolicyRequest,
    ) -> Result<UnregisterPolicyResponse, Refusal> {
        self.require_writable_policies()?;
        let by = self.require_registrar(identity)?;
        let (ok, error) = in_band(
            self.change(Method::UnregisterPolicy, by, Change::UnregisterPolicy(request.policy_id)).await?,
        );
        Ok(UnregisterPolicyResponse { ok, error })
    }

    /// `RegisterExtMode`
    ///
    /// # Errors
    /// `UNAUTHENTICATED`, `FORBIDDEN`, `INVALID_REQUEST`, `INTERNAL_ERROR`.
    pub async fn register_ext_mode(
        &self,
        identity: &Identity,
        request: RegisterExtModeRequest,
    ) -> Result<RegisterExtModeResponse, Refusal> {
        let by = self.require_registrar(identity)?;
        let descriptor = request
            .mode_descriptor
            .ok_or_else(|| Refusal::invalid_request("RegisterExtModeRequest.mode_descriptor is missing"))?;
        let (ok, error) =
            in_band(self.change(Method::RegisterExtMode, by, Change::RegisterMode(descriptor)).await?);
        Ok(RegisterExtModeResponse { ok, error })
    }

    /// `UnregisterExtMode`. Open sessions of the mode accept nothing more and expire.
    ///
    /// # Errors
    /// `UNAUTHENTICATED`, `FORBIDDEN`, `INTERNAL_ERROR`.
    pub async fn unregister_ext_mode(
        &self,
        identity: &Identity,
        request: UnregisterExtModeRequest,
    ) -> Result<UnregisterExtModeResponse, Refusal> {
        let by = self.require_registrar(identity)?;
        let (ok, error) =
            in_band(self.change(Method::UnregisterExtMode, by, Change::UnregisterMode(request.mode)).await?);
        Ok(UnregisterExtModeResponse { ok, error })
    }

    /// `PromoteMode`
    ///
    /// # Errors
    /// As [`Engine::unregister_ext_mode`].
    pub async fn promote_mode(
        &self,
        identity: &Identity,
        request: PromoteModeRequest,
    ) -> Result<PromoteModeResponse, Refusal> {
        let by = self.require_registrar(identity)?;
        let promotion = Promotion { mode: request.mode, promoted_name: request.promoted_mode_name };
        Ok(match self.change(Method::PromoteMode, by, Change::PromoteMode(promotion)).await? {
            Ok(mode) => PromoteModeResponse { ok: true, error: String::new(), mode },
            Err(error) => PromoteModeResponse { ok: false, error, mode: String::new() },
        })
    }

    fn require_registrar<'i>(&self, identity: &'i Identity) -> Result<&'i Caller, Refusal> {
        let caller = identity.require()?;
        caller.require_registry_rights()?;
        self.require_not_draining()?;
        Ok(caller)
    }

    fn require_writable_policies(&self) -> Result<(), Refusal> {
        if self.options().policies_read_only {
            return Err(Refusal::new(
                RefusalCode::RegistryReadOnly,
                "policies are loaded from MACP_POLICIES_DIR; change the files there; they are read again at once",
            ));
        }
        Ok(())
    }

    /// The outer error is a fault of the server, the inner one a refusal in band.
    async fn change(
        &self,
        call: Method,
        by: &Caller,
        change: Change,
    ) -> Result<Result<String, String>, Refusal> {
        let id = change.id().to_owned();
        let told = |refused: Option<&str>| {
            observe::registry_changed(call.name(), &id, by.sender.as_str(), refused);
        };
        match self.registry().change(change).await {
            Ok(id) => {
                told(None);
                self.counters().learn(self.registry().catalog().modes());
                Ok(Ok(id))
            }
            Err(ChangeError::Store(error)) => {
                tracing::error!(%error, "a registration cannot be kept");
                told(Some("it cannot be kept"));
                Err(Refusal::new(
                    RefusalCode::InternalError,
                    "the change could not be stored; it may be there after a restart, retry",
                ))
            }
            Err(refused) => {
                let refused = refused.to_string();
                told(Some(&refused));
                Ok(Err(refused))
            }
        }
    }
}

fn in_band(outcome: Result<String, String>) -> (bool, String) {
    match outcome {
        Ok(_) => (true, String::new()),
        Err(error) => (false, error),
    }
}
