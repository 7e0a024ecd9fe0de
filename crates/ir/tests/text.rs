//! The text form: what is printed parses back to the same module, and what is no module is refused at its place.

#[path = "text/errors.rs"]
mod errors;
#[path = "text/forms.rs"]
mod forms;
#[path = "text/random.rs"]
mod random;
#[path = "text/same.rs"]
mod same;
