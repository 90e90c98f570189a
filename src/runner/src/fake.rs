//! In-memory sandboxes for tests of whoever uses them.
/// TODO
#[derive(Debug)]
pub struct FakeSandboxes;
