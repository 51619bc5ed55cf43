//! Scripts of events, and the actions that must follow.
