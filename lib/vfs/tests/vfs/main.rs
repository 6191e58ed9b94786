//! Files as a program sees them: [`Files`] is a process' view of a file system, with calls that answer as Linux' do.

mod differential;
mod files;
mod mapped;
mod overlay;
mod packed;
mod rename;
mod rules;
mod sparse;

use files::Files;
