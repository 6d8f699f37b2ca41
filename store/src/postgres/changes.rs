//! Notifications of changes.

use crate::StoreError;

pub(crate) struct Listening;

impl Listening {
    pub(crate) async fn next(&mut self) -> Result<(), StoreError> {
        unimplemented!()
    }
}
