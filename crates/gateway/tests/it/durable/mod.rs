//! What a gateway has promised to its clients, and tests that take its process, its disk or its power away.

mod kill;
mod ledger;
mod random;
mod traffic;
