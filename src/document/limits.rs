//! STUB
#![allow(missing_docs)]
#[derive(Clone, Debug, Default)]
pub struct Limits;
impl Limits {
    pub fn stranger() -> Self { Self }
    pub fn trusted() -> Self { Self }
    pub fn pending_updates_max(&self) -> usize { 1024 }
    pub fn pending_bytes_max(&self) -> usize { 1 << 22 }
}
