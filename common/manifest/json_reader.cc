#include "common/manifest/json_reader.h"

#include <nlohmann/json.hpp>

#include "common/base/names.h"
#include "common/crypto/digest.h"
#include "common/manifest/canonical_json.h"
#include "common/manifest/resource_name.h"

namespace tributary::manifest {
namespace {

const Json& Null() {
  static const Json null;
  return null;
}

std::string PathOf(const std::string& parent, std::string_view name) {
  return parent.empty() ? std::string(name)
                        : fmt::format("{}.{}", parent, name);
}

// "a string", as opposed to the value itself, which may be large.
std::string Describe(const Json& value) {
  switch (value.type()) {
    case Json::value_t::object:
      return "an object";
    case Json::value_t::array:
      return "a list";
    case Json::value_t::string:
      return "a string";
    default:
      return value.dump();
  }
}

// At most the first 80 bytes of foreign text.
std::string Excerpt(std::string_view text) {
  return text.size() <= 80 ? std::string(text)
                           : std::string(text.substr(0, 80)) + "...";
}

}  // namespace

void JsonReader::Fail(std::string_view message) const {
  document_->Fail(path_, message);
}

std::optional<JsonReader> JsonReader::OptionalField(
    std::string_view name) const {
  if (value_->is_object() && !value_->contains(std::string(name))) {
    return std::nullopt;
  }
  return Field(name);
}

JsonReader JsonReader::Field(std::string_view name) const {
  const std::string path = PathOf(path_, name);
  if (!value_->is_object()) {
    Fail(fmt::format("got {}, wanted an object", Describe(*value_)));
    return JsonReader(*document_, Null(), path);
  }
  auto& object = document_->objects_[value_];
  object.path = path_;
  object.fields.emplace(name);
  const auto found = value_->find(std::string(name));
  if (found == value_->end()) {
    document_->Fail(path, "the field is missing");
    return JsonReader(*document_, Null(), path);
  }
  return JsonReader(*document_, *found, path);
}

std::vector<JsonReader> JsonReader::List(size_t min_size,
                                         size_t max_size) const {
  std::vector<JsonReader> elements;
  if (!value_->is_array()) {
    Fail(fmt::format("got {}, wanted a list", Describe(*value_)));
  } else if (value_->size() < min_size || value_->size() > max_size) {
    Fail(fmt::format("got {} elements, wanted {} to {}", value_->size(),
                     min_size, max_size));
  } else {
    for (const Json& element : *value_) {
      elements.push_back(JsonReader(
          *document_, element, fmt::format("{}[{}]", path_, elements.size())));
    }
  }
  return elements;
}

std::optional<JsonReader> JsonReader::Nullable() const {
  return value_->is_null() ? std::nullopt : std::optional<JsonReader>(*this);
}

const std::string* JsonReader::Text() const {
  if (!value_->is_string()) {
    Fail(fmt::format("got {}, wanted a string", Describe(*value_)));
    return nullptr;
  }
  return value_->get_ptr<const std::string*>();
}

std::string JsonReader::String(size_t min_bytes, size_t max_bytes) const {
  const std::string* text = Text();
  if (text == nullptr) {
    return {};
  }
  if (text->size() < min_bytes || text->size() > max_bytes) {
    Fail(fmt::format("got {} bytes, wanted {} to {}", text->size(), min_bytes,
                     max_bytes));
    return {};
  }
  return *text;
}

void JsonReader::Constant(std::string_view value) const {
  const std::string* text = Text();
  if (text != nullptr && *text != value) {
    Fail(fmt::format("got \"{}\", wanted \"{}\"", Excerpt(*text), value));
  }
}

std::string JsonReader::Id() const {
  const std::string* text = Text();
  if (text == nullptr) {
    return {};
  }
  if (!IsValidId(*text)) {
    Fail(fmt::format("got \"{}\", wanted {}", Excerpt(*text), kNameRule));
  }
  return *text;
}

std::string JsonReader::Digest() const {
  const std::string* text = Text();
  if (text == nullptr) {
    return {};
  }
  if (!crypto::IsSha256Hex(*text)) {
    Fail(fmt::format("got \"{}\", wanted 64 lower-case hexadecimal digits",
                     Excerpt(*text)));
  }
  return *text;
}

BlobName JsonReader::Blob() const {
  const std::string* text = Text();
  if (text == nullptr) {
    return {};
  }
  StatusOr<BlobName> name = BlobName::Parse(*text);
  if (!name.ok()) {
    const absl::string_view message = name.status().message();
    Fail(std::string_view(message.data(), message.size()));
    return {};
  }
  return *std::move(name);
}

std::string JsonReader::Release() const {
  const std::string* text = Text();
  if (text == nullptr) {
    return {};
  }
  if (!ParseReleaseName(*text).ok()) {
    Fail(fmt::format("got \"{}\", wanted releases/{{number}}", Excerpt(*text)));
  }
  return *text;
}

bool JsonReader::Bool() const {
  if (!value_->is_boolean()) {
    Fail(fmt::format("got {}, wanted true or false", Describe(*value_)));
    return false;
  }
  return value_->get<bool>();
}

int64_t JsonReader::Int(int64_t min, int64_t max) const {
  const std::string wanted = max == INT64_MAX
                                 ? fmt::format("{} or more", min)
                                 : fmt::format("{} to {}", min, max);
  if (!value_->is_number_integer()) {
    Fail(fmt::format("got {}, wanted an integer, {}", Describe(*value_),
                     wanted));
    return min;
  }
  const bool too_large = value_->is_number_unsigned() &&
                         value_->get<uint64_t>() > uint64_t{INT64_MAX};
  const int64_t number = too_large ? INT64_MAX : value_->get<int64_t>();
  if (too_large || number < min || number > max) {
    Fail(fmt::format("got {}, wanted {}", value_->dump(), wanted));
    return min;
  }
  return number;
}

uint64_t JsonReader::Unsigned() const {
  if (!value_->is_number_unsigned()) {
    Fail(
        fmt::format("got {}, wanted an integer, 0 or more", Describe(*value_)));
    return 0;
  }
  return value_->get<uint64_t>();
}

double JsonReader::Number(double min, double max) const {
  if (!value_->is_number()) {
    Fail(fmt::format("got {}, wanted a number", Describe(*value_)));
    return min;
  }
  const double number = value_->get<double>();
  if (!(number >= min && number <= max)) {
    Fail(fmt::format("got {}, wanted {} to {}", number, min, max));
    return min;
  }
  return number;
}

std::string JsonReader::ObjectText() const {
  if (!value_->is_object()) {
    Fail(fmt::format("got {}, wanted an object", Describe(*value_)));
    return "{}";
  }
  StatusOr<std::string> text = CanonicalJson(*value_);
  if (!text.ok()) {
    Fail("cannot be written again");
    return "{}";
  }
  return *std::move(text);
}

JsonDocument::JsonDocument(std::string_view what, std::string_view json,
                           const JsonLimits& limits)
    : what_(what) {
  StatusOr<Json> value = ParseJson(json, limits);
  if (!value.ok()) {
    first_error_ = Annotate(value.status(), what_);
    value_ = std::make_unique<const Json>();
  } else {
    value_ = std::make_unique<const Json>(*std::move(value));
  }
}

JsonDocument::~JsonDocument() = default;

JsonReader JsonDocument::root() { return JsonReader(*this, *value_, ""); }

void JsonDocument::Fail(std::string_view path, std::string_view message) {
  if (first_error_.ok()) {
    first_error_ = path.empty()
                       ? InvalidArgument("{}: {}", what_, message)
                       : InvalidArgument("{}: {}: {}", what_, path, message);
  }
}

Status JsonDocument::Finish() const {
  RETURN_IF_ERROR(first_error_);
  for (const auto& [value, object] : objects_) {
    for (const auto& [key, unused] : value->items()) {
      if (!object.fields.contains(key)) {
        return InvalidArgument("{}: {}: unknown field", what_,
                               PathOf(object.path, Excerpt(key)));
      }
    }
  }
  return absl::OkStatus();
}

Status CheckCanonical(std::string_view what, std::string_view json,
                      const Json& value) {
  ASSIGN_OR_RETURN(const std::string canonical, CanonicalJson(value));
  if (canonical != json) {
    return InvalidArgument(
        "{}: not in canonical form: wanted sorted keys, no white space and "
        "numbers as this program writes them",
        what);
  }
  return absl::OkStatus();
}

}  // namespace tributary::manifest
