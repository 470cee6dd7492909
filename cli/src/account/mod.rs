//! Becoming signed in, and ceasing to be.

mod contact;
mod register;
mod sign_in;
mod sign_out;

pub(crate) use register::register;
pub(crate) use sign_in::sign_in;
pub(crate) use sign_out::sign_out;
