//! How much each key has used of something that is limited: rates, and places that are held at a time.
//!
//! A key is whoever a limit holds for: a sender, or the address of a peer. There may be millions of them, and strangers
//! choose them; so no table keeps a key itself, only 64 bits of a hash with a secret of its own, and what a table keeps
//! is bounded whatever comes. Time is an argument.
//!
//! | to find | open |
//! |---|---|
//! | how many keys are remembered, and which are forgotten first | `limiter.rs` |
//! | so many in any minute, exactly | `window.rs` |
//! | so much a second, on average | `bucket.rs` |
//! | so many at a time | `places.rs` |

mod bucket;
mod limiter;
mod places;
mod window;

pub use bucket::Bucket;
pub use limiter::{Limiter, Quota, REMEMBERED, Usage};
pub use places::{Place, Places};
pub use window::Window;

/// So many in any window: what was admitted counts until it is a window old.
pub type Windows = Limiter<Window>;
/// So much for each window, on average: a bucket that holds a window's worth and fills all the time.
pub type Rates = Limiter<Bucket>;
