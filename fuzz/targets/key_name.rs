//! Anybody names a key.
#![no_main]

use keyferry_protocol::ids::KeyName;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|text: &str| {
    if let Ok(name) = text.parse::<KeyName>() {
        assert_eq!(name.as_str(), text);
        assert!(
            !text.contains(['/', '\0', ' ', '%']),
            "a name that no path can hold"
        );
    }
});
