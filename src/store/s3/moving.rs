//! No wait without an end for what S3 is sent: a body that stands still, and an answer that does not come.
//!
//! A limit on a request would have to be that of the slowest line. So the body is handed over piece by piece, as the connection takes it,
//! and it counts how long none was taken.

use super::{bucket::Bucket, failure::Failure};
use crate::store::pace::{PIECE, Pace, STALL_PARTS, Turn};
use aws_sdk_s3::{
    config::{
        ConfigBag, Intercept, RuntimeComponents,
        interceptors::{BeforeTransmitInterceptorContextMut, FinalizerInterceptorContextRef},
    },
    error::BoxError,
    primitives::SdkBody,
};
use bytes::Bytes;
use std::{
    convert::Infallible,
    pin::Pin,
    task::{Context, Poll},
};

/// Puts the pieces in place of the body, when it has been signed and its checksum stands in a header.
#[derive(Clone, Debug)]
pub(super) struct InPieces {
    body: Bytes,
    pace: Pace,
}

impl Intercept for InPieces {
    fn name(&self) -> &'static str {
        "InPieces"
    }

    fn modify_before_transmit(
        &self,
        context: &mut BeforeTransmitInterceptorContextMut<'_>,
        _: &RuntimeComponents,
        _: &mut ConfigBag,
    ) -> Result<(), BoxError> {
        self.pace.moves(Turn::Sends);
        let request = context.request_mut();
        // Else the SDK made another one of it, which it hands over in pieces itself.
        if request.body().bytes().is_some_and(|bytes| bytes == self.body) {
            *request.body_mut() = SdkBody::from_body_1_x(Pieces { left: self.body.clone(), pace: self.pace.clone() });
        }
        Ok(())
    }

    fn read_after_attempt(
        &self,
        _: &FinalizerInterceptorContextRef<'_>,
        _: &RuntimeComponents,
        _: &mut ConfigBag,
    ) -> Result<(), BoxError> {
        self.pace.moves(Turn::Ours);
        Ok(())
    }
}

struct Pieces {
    left: Bytes,
    pace: Pace,
}

impl http_body::Body for Pieces {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<http_body::Frame<Bytes>, Infallible>>> {
        let next = self.left.len().min(PIECE);
        let piece = self.left.split_to(next);
        self.pace.moves(if self.left.is_empty() { Turn::Awaits } else { Turn::Sends });
        Poll::Ready((!piece.is_empty()).then(|| Ok(http_body::Frame::data(piece))))
    }

    fn is_end_stream(&self) -> bool {
        self.left.is_empty()
    }

    fn size_hint(&self) -> http_body::SizeHint {
        http_body::SizeHint::with_exact(self.left.len() as u64)
    }
}

impl Bucket {
    /// Sends a body by what `send` makes of the interceptor. One that stands still is sent anew over another connection, until
    /// `stall-timeout` is over.
    pub(super) async fn moving<T, F>(&self, body: &Bytes, send: impl Fn(InPieces) -> F) -> Result<T, Failure>
    where
        F: Future<Output = Result<T, Failure>>,
    {
        let stall = self.options.stall();
        for _ in 0..STALL_PARTS {
            let pace = Pace::new();
            tokio::select! {
                sent = send(InPieces { body: body.clone(), pace: pace.clone() }) => return sent,
                was_sent = pace.stands_still(stall) => if was_sent { break },
            }
        }
        Err(Failure::stalled(stall))
    }

    /// Awaits an answer over which the server may think for long, as long as it answers others.
    pub(super) async fn answered<T>(
        &self,
        full_key: &str,
        answer: impl Future<Output = Result<T, Failure>>,
    ) -> Result<T, Failure> {
        let stall = self.options.stall();
        let mut answer = std::pin::pin!(answer);
        loop {
            tokio::select! {
                answered = &mut answer => return answered,
                () = tokio::time::sleep(stall) => {}
            }
            if self.head(full_key).await.is_err_and(|f| f.status.is_none()) {
                return Err(Failure::stalled(stall));
            }
        }
    }
}
