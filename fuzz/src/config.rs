//! The settings file of a relay: a configuration within its limits, or an error that names the file or the setting.

use std::path::Path;

use penpal_relay::{RelayConfig, SettingsError};

/// The text of the file.
pub fn check(data: &[u8]) {
    let Ok(text) = str::from_utf8(data) else { return };
    match RelayConfig::from_toml(text, Path::new("relay.toml"), Path::new("data")) {
        Ok(config) => {
            assert_eq!(config.data, Path::new("data"));
            assert!(config.limits.spool_bytes >= 1024 * 1024 && config.limits.spool_rows >= 16);
            assert!(config.limits.connections >= 2 && config.limits.connections_per_prefix >= 2);
            if let Some(public) = config.public {
                let again = public.to_string().parse();
                assert_eq!(again, Ok(public), "written in another way than read");
            }
        }
        Err(error @ SettingsError::File { .. }) => assert!(error.to_string().starts_with("relay.toml")),
        Err(SettingsError::Value { key, .. }) => assert!(text.contains(key), "{key} is not in the file"),
        Err(error) => panic!("a text is not read from anywhere: {error}"),
    }
}
