#include "common/crypto/dsse.h"

#include <nlohmann/json.hpp>
#include <utility>

#include "common/base/json.h"
#include "common/crypto/base64.h"

namespace tributary::crypto {
namespace {

constexpr size_t kMaxSignatures = 8;
constexpr size_t kMaxTypeBytes = 256;

// `object` has exactly these fields.
Status CheckFields(const Json& object, std::string_view path,
                   std::initializer_list<const char*> fields) {
  if (!object.is_object()) {
    return InvalidArgument("{}: got {}, wanted an object", path,
                           object.type_name());
  }
  for (const char* field : fields) {
    if (!object.contains(field)) {
      return InvalidArgument("{}: field \"{}\" is missing", path, field);
    }
  }
  for (const auto& [key, value] : object.items()) {
    bool known = false;
    for (const char* field : fields) {
      known = known || key == field;
    }
    if (!known) {
      return InvalidArgument("{}: unknown field \"{}\"", path, key);
    }
  }
  return absl::OkStatus();
}

StatusOr<std::string> StringField(const Json& object, std::string_view path,
                                  const char* field) {
  const Json& value = object.at(field);
  if (!value.is_string()) {
    return InvalidArgument("{}: {}: got {}, wanted a string", path, field,
                           value.type_name());
  }
  return value.get<std::string>();
}

StatusOr<std::string> BytesField(const Json& object, std::string_view path,
                                 const char* field) {
  ASSIGN_OR_RETURN(const std::string text, StringField(object, path, field));
  StatusOr<std::string> bytes = DecodeBase64(text);
  if (!bytes.ok()) {
    return Annotate(bytes.status(), fmt::format("{}: {}", path, field));
  }
  return bytes;
}

}  // namespace

std::string PreAuthenticationEncoding(std::string_view payload_type,
                                      std::string_view payload) {
  return fmt::format("DSSEv1 {} {} {} {}", payload_type.size(), payload_type,
                     payload.size(), payload);
}

std::string Envelope::ToJson() const {
  Json signature_list = Json::array();
  for (const Signature& signature : signatures) {
    signature_list.push_back(
        {{"keyid", signature.key_id}, {"sig", EncodeBase64(signature.bytes)}});
  }
  const Json json = {{"payload", EncodeBase64(payload)},
                     {"payloadType", payload_type},
                     {"signatures", std::move(signature_list)}};
  // Key ids and payload types are ASCII, the rest is base64.
  return json.dump(-1, ' ', false, Json::error_handler_t::replace);
}

StatusOr<Envelope> Envelope::FromJson(std::string_view json, size_t max_bytes) {
  StatusOr<Json> parsed =
      ParseJson(json, {.max_bytes = max_bytes, .max_depth = 4});
  if (!parsed.ok()) {
    return Annotate(parsed.status(), "envelope");
  }
  RETURN_IF_ERROR(CheckFields(*parsed, "envelope",
                              {"payload", "payloadType", "signatures"}));
  Envelope envelope;
  ASSIGN_OR_RETURN(envelope.payload_type,
                   StringField(*parsed, "envelope", "payloadType"));
  if (envelope.payload_type.empty() ||
      envelope.payload_type.size() > kMaxTypeBytes) {
    return InvalidArgument(
        "envelope: payloadType: got {} bytes, wanted 1 to {}",
        envelope.payload_type.size(), kMaxTypeBytes);
  }
  ASSIGN_OR_RETURN(envelope.payload,
                   BytesField(*parsed, "envelope", "payload"));
  const Json& list = parsed->at("signatures");
  if (!list.is_array() || list.empty() || list.size() > kMaxSignatures) {
    return InvalidArgument("envelope: signatures: wanted a list of 1 to {}",
                           kMaxSignatures);
  }
  for (size_t i = 0; i < list.size(); ++i) {
    const std::string path = fmt::format("envelope: signatures[{}]", i);
    RETURN_IF_ERROR(CheckFields(list[i], path, {"keyid", "sig"}));
    Signature signature;
    ASSIGN_OR_RETURN(signature.key_id, StringField(list[i], path, "keyid"));
    ASSIGN_OR_RETURN(signature.bytes, BytesField(list[i], path, "sig"));
    envelope.signatures.push_back(std::move(signature));
  }
  return envelope;
}

StatusOr<Envelope> SignEnvelope(std::string_view payload_type,
                                std::string_view payload,
                                const PrivateKey& key) {
  ASSIGN_OR_RETURN(std::string signature,
                   key.Sign(PreAuthenticationEncoding(payload_type, payload)));
  return Envelope{.payload_type = std::string(payload_type),
                  .payload = std::string(payload),
                  .signatures = {{.key_id = key.public_key().key_id(),
                                  .bytes = std::move(signature)}}};
}

Status VerifyEnvelope(const Envelope& envelope, const PublicKey& key) {
  for (const Envelope::Signature& signature : envelope.signatures) {
    if (signature.key_id == key.key_id()) {
      return key.Verify(
          PreAuthenticationEncoding(envelope.payload_type, envelope.payload),
          signature.bytes);
    }
  }
  return Unauthenticated(
      "envelope: signed by {}, wanted a signature of {}",
      envelope.signatures.empty() ? "nobody" : envelope.signatures[0].key_id,
      key.key_id());
}

}  // namespace tributary::crypto
