//! Enumerations whose members have the names of the KMS model, so that one table serves parsing, printing and the
//! "enum value set" of AWS's validation messages.

/// An enumeration with the names that the service model gives its members.
pub(crate) trait Named: Copy + Sized + 'static {
    /// Every member with its name, in the order of the model.
    const TABLE: &'static [(&'static str, Self)];

    /// The member of that name.
    fn from_name(name: &str) -> Option<Self> {
        Self::TABLE.iter().find(|(known, _)| *known == name).map(|(_, member)| *member)
    }

    /// The names of some members, as AWS lists them in a validation message.
    fn value_set(part: impl Fn(Self) -> bool) -> String {
        let some = Self::TABLE.iter().filter(|(_, member)| part(*member));
        let names: Vec<&str> = some.map(|(name, _)| *name).collect();
        format!("[{}]", names.join(", "))
    }
}

/// Defines an enumeration, its names and its serialisation.
macro_rules! named {
    ($(#[$doc:meta])* $vis:vis enum $ty:ident { $($(#[$member_doc:meta])* $member:ident = $name:literal,)+ }) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        $vis enum $ty { $($(#[$member_doc])* $member,)+ }

        impl crate::names::Named for $ty {
            const TABLE: &'static [(&'static str, Self)] = &[$(($name, $ty::$member),)+];
        }

        impl $ty {
            /// The member's name in the KMS service model.
            $vis const fn name(self) -> &'static str {
                match self { $($ty::$member => $name,)+ }
            }
        }

        impl serde::Serialize for $ty {
            fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.serialize_str(self.name())
            }
        }

        impl<'de> serde::Deserialize<'de> for $ty {
            fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                let name = <std::borrow::Cow<'de, str>>::deserialize(deserializer)?;
                <Self as crate::names::Named>::from_name(&name).ok_or_else(|| {
                    serde::de::Error::custom(format_args!("{name:?} is not one of {}", <Self as crate::names::Named>::value_set(|_| true)))
                })
            }
        }

        impl std::fmt::Display for $ty {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str(self.name())
            }
        }
    };
}
