//! What a gateway has promised to its clients, and tests that take its process, its disk or its power away.

mod disk;
mod disk_faults;
mod image;
mod kill;
mod ledger;
mod power_cut;
mod random;
mod traffic;
