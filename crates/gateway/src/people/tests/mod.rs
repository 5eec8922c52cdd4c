//! Use cases of people, on a home that nobody can reach.

mod invitations;
mod roster;
mod ways;
