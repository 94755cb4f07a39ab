//! Whose sessions an identity is shown: its own and those it may observe, unless the operator opened the listing.

use macp_kernel::Caller;
use macp_wire::v1::SessionMetadata;

use crate::options::Visibility;

/// What a listing or a watch may show its caller.
#[derive(Clone, Debug)]
pub(crate) enum Shown {
    /// Everything.
    All,
    /// Sessions that this sender started or takes part in.
    Of(String),
}

impl Shown {
    pub(crate) fn to(caller: &Caller, visibility: Visibility) -> Self {
        if visibility == Visibility::All || caller.capabilities.is_observer {
            return Self::All;
        }
        Self::Of(caller.sender.as_str().to_owned())
    }

    pub(crate) fn includes(&self, session: &SessionMetadata) -> bool {
        match self {
            Self::All => true,
            Self::Of(sender) => session.initiator == *sender || session.participants.contains(sender),
        }
    }
}
