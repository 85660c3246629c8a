//! A grant of another gate that may be ordered here.

use crate::core::order::Order;
use crate::model::fleet::SharedId;
use crate::model::request::OpenRequest;

/// Only [`super::Fleet::next_taken`] makes one: of a publication that a fleet key opened, that has not ended and was not closed, and
/// that this gate's policy allows. So no other grant of another gate can be ordered.
#[must_use]
#[derive(Debug, PartialEq, Eq)]
pub struct Taken {
    id: SharedId,
    request: OpenRequest,
}

impl Taken {
    pub(super) fn new(id: SharedId, request: OpenRequest) -> Self {
        Self { id, request }
    }

    pub fn id(&self) -> SharedId {
        self.id
    }

    pub fn order(self, ticket: u64) -> Order {
        let request = self.request;
        Order::Share { ticket, request }
    }
}
