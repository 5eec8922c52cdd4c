//! A refusal on the wire: problem details (RFC 9457).

use axum::Json;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};

use crate::state::failure::Failure;

impl IntoResponse for Failure {
    fn into_response(self) -> Response {
        let status =
            StatusCode::from_u16(self.0.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        let mut response = (status, Json(self.0)).into_response();
        let kind = axum::http::HeaderValue::from_static("application/problem+json");
        response
            .headers_mut()
            .insert(axum::http::header::CONTENT_TYPE, kind);
        response
    }
}
