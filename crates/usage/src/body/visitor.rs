//! Walks the JSON of one usage without stopping at a wrong field, so that all of them can be told
//! at once.

use std::borrow::Cow;
use std::fmt;

use serde::de::{DeserializeSeed, Deserializer, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde_json::value::RawValue;

use super::UnknownFields;
use super::draft::Draft;

/// What stood in a body.
pub(super) enum Body {
    /// An object; its fields are in the draft.
    Object,
    /// Something else, named with its article.
    Other(&'static str),
}

/// The value of a field, of whatever type.
#[derive(Debug)]
pub(super) enum Value<'a> {
    Null,
    Text(Cow<'a, str>),
    /// A number without fraction or exponent; cut to the range of the type, which is far beyond
    /// any number that is accepted.
    Integer(i64),
    /// Any other number.
    Fraction,
    /// A boolean, an array or an object, named with its article.
    Other(&'static str),
}

/// The name of a field.
enum Name<'a> {
    PatientId,
    Timestamp,
    Medication,
    EventId,
    Attributes,
    Unknown(Cow<'a, str>),
}

/// Decodes a whole body into a draft, which is too large to be handed on by value.
pub(super) struct BodySeed<'d, 'a> {
    pub(super) unknown: UnknownFields,
    pub(super) draft: &'d mut Draft<'a>,
}

impl<'de> DeserializeSeed<'de> for BodySeed<'_, 'de> {
    type Value = Body;

    fn deserialize<D: Deserializer<'de>>(self, json: D) -> Result<Body, D::Error> {
        json.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for BodySeed<'_, 'de> {
    type Value = Body;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a usage")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut fields: A) -> Result<Body, A::Error> {
        let draft = self.draft;
        while let Some(name) = fields.next_key_seed(NameSeed)? {
            match name {
                Name::PatientId => draft.put_patient_id(fields.next_value_seed(ValueSeed)?),
                Name::Timestamp => draft.put_timestamp(fields.next_value_seed(ValueSeed)?),
                Name::Medication => draft.put_medication(fields.next_value_seed(ValueSeed)?),
                Name::EventId => draft.put_event_id(fields.next_value_seed(ValueSeed)?),
                Name::Attributes => draft.put_attributes(fields.next_value::<&RawValue>()?),
                Name::Unknown(name) => match self.unknown {
                    UnknownFields::Refuse => {
                        fields.next_value::<IgnoredAny>()?;
                        draft.refuse(&name);
                    }
                    UnknownFields::Keep => draft.keep(name, fields.next_value::<&RawValue>()?),
                },
            }
        }
        Ok(Body::Object)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, items: A) -> Result<Body, A::Error> {
        drain_seq(items).map(|()| Body::Other("an array"))
    }

    fn visit_str<E>(self, _: &str) -> Result<Body, E> {
        Ok(Body::Other("a string"))
    }

    fn visit_u64<E>(self, _: u64) -> Result<Body, E> {
        Ok(Body::Other("a number"))
    }

    fn visit_i64<E>(self, _: i64) -> Result<Body, E> {
        Ok(Body::Other("a number"))
    }

    fn visit_f64<E>(self, _: f64) -> Result<Body, E> {
        Ok(Body::Other("a number"))
    }

    fn visit_bool<E>(self, _: bool) -> Result<Body, E> {
        Ok(Body::Other("a boolean"))
    }

    fn visit_unit<E>(self) -> Result<Body, E> {
        Ok(Body::Other("null"))
    }
}

struct NameSeed;

impl<'de> DeserializeSeed<'de> for NameSeed {
    type Value = Name<'de>;

    #[inline]
    fn deserialize<D: Deserializer<'de>>(self, json: D) -> Result<Name<'de>, D::Error> {
        json.deserialize_str(self)
    }
}

impl<'de> Visitor<'de> for NameSeed {
    type Value = Name<'de>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a field's name")
    }

    #[inline]
    fn visit_borrowed_str<E>(self, name: &'de str) -> Result<Name<'de>, E> {
        Ok(known(name).unwrap_or(Name::Unknown(Cow::Borrowed(name))))
    }

    fn visit_str<E>(self, name: &str) -> Result<Name<'de>, E> {
        Ok(known(name).unwrap_or_else(|| Name::Unknown(Cow::Owned(name.to_owned()))))
    }
}

#[inline]
fn known<'a>(name: &str) -> Option<Name<'a>> {
    match name {
        "patientId" => Some(Name::PatientId),
        "timestamp" => Some(Name::Timestamp),
        "medication" => Some(Name::Medication),
        "eventId" => Some(Name::EventId),
        "attributes" => Some(Name::Attributes),
        _ => None,
    }
}

struct ValueSeed;

impl<'de> DeserializeSeed<'de> for ValueSeed {
    type Value = Value<'de>;

    #[inline]
    fn deserialize<D: Deserializer<'de>>(self, json: D) -> Result<Value<'de>, D::Error> {
        json.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for ValueSeed {
    type Value = Value<'de>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a value")
    }

    #[inline]
    fn visit_borrowed_str<E>(self, text: &'de str) -> Result<Value<'de>, E> {
        Ok(Value::Text(Cow::Borrowed(text)))
    }

    fn visit_str<E>(self, text: &str) -> Result<Value<'de>, E> {
        Ok(Value::Text(Cow::Owned(text.to_owned())))
    }

    fn visit_u64<E>(self, number: u64) -> Result<Value<'de>, E> {
        Ok(Value::Integer(i64::try_from(number).unwrap_or(i64::MAX)))
    }

    fn visit_i64<E>(self, number: i64) -> Result<Value<'de>, E> {
        Ok(Value::Integer(number))
    }

    fn visit_f64<E>(self, _: f64) -> Result<Value<'de>, E> {
        Ok(Value::Fraction)
    }

    fn visit_bool<E>(self, _: bool) -> Result<Value<'de>, E> {
        Ok(Value::Other("a boolean"))
    }

    fn visit_unit<E>(self) -> Result<Value<'de>, E> {
        Ok(Value::Null)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, items: A) -> Result<Value<'de>, A::Error> {
        drain_seq(items).map(|()| Value::Other("an array"))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut fields: A) -> Result<Value<'de>, A::Error> {
        while fields.next_entry::<IgnoredAny, IgnoredAny>()?.is_some() {}
        Ok(Value::Other("an object"))
    }
}

fn drain_seq<'de, A: SeqAccess<'de>>(mut items: A) -> Result<(), A::Error> {
    while items.next_element::<IgnoredAny>()?.is_some() {}
    Ok(())
}
