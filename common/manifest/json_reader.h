#pragma once

// Reads a JSON text into a struct, strictly. The first thing that is wrong is
// kept, with the path to it, and reading goes on with harmless values: so a
// reader is a list of fields and one check at the end.
//
//   JsonDocument document("expert manifest", json);
//   manifest.federation = document.root().Field("federation").Id();
//   RETURN_IF_ERROR(document.Finish());

#include <cstddef>
#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <string_view>
#include <vector>

#include "common/base/json.h"
#include "common/base/status.h"
#include "common/manifest/blob_name.h"

namespace tributary::manifest {

class JsonDocument;

// A value at a path. Valid as long as its document.
class JsonReader {
 public:
  // The field of an object; it must be there.
  JsonReader Field(std::string_view name) const;
  // The field of an object, or nothing when it is not there.
  std::optional<JsonReader> OptionalField(std::string_view name) const;
  // The elements of a list that has `min_size` to `max_size` of them.
  std::vector<JsonReader> List(size_t min_size, size_t max_size) const;
  // Nothing for null.
  std::optional<JsonReader> Nullable() const;

  // UTF-8 of so many bytes.
  std::string String(size_t min_bytes, size_t max_bytes) const;
  // Nothing but exactly this string.
  void Constant(std::string_view value) const;
  // A federation's name or an id.
  std::string Id() const;
  // A hexadecimal SHA-256.
  std::string Digest() const;
  BlobName Blob() const;
  // "releases/{number}".
  std::string Release() const;
  bool Bool() const;
  int64_t Int(int64_t min, int64_t max = INT64_MAX) const;
  uint64_t Unsigned() const;
  // Also one that is written as an integer.
  double Number(double min, double max) const;
  // The canonical text of an object with any content.
  std::string ObjectText() const;

  // Reports `message` about this value, unless something was wrong before.
  void Fail(std::string_view message) const;

 private:
  friend class JsonDocument;
  JsonReader(JsonDocument& document, const Json& value, std::string path)
      : document_(&document), value_(&value), path_(std::move(path)) {}
  const std::string* Text() const;

  JsonDocument* document_;
  const Json* value_;
  std::string path_;  // empty for the root
};

// A JSON text being read.
class JsonDocument {
 public:
  // Parses `json` strictly; `what` begins every message.
  JsonDocument(std::string_view what, std::string_view json,
               const JsonLimits& limits = {});
  ~JsonDocument();
  JsonDocument(const JsonDocument&) = delete;
  JsonDocument& operator=(const JsonDocument&) = delete;

  JsonReader root();

  // OK when all was well and every field of the objects that were read was
  // asked for; otherwise INVALID_ARGUMENT, "{what}: {path}: got ..., wanted
  // ...".
  Status Finish() const;

 private:
  friend class JsonReader;
  struct Object {
    std::string path;
    std::set<std::string, std::less<>> fields;  // that were asked for
  };
  void Fail(std::string_view path, std::string_view message);

  const std::string what_;
  std::unique_ptr<const Json> value_;
  Status first_error_;
  std::map<const Json*, Object> objects_;
};

// INVALID_ARGUMENT unless `json` is the canonical text of `value`, which was
// read from it.
Status CheckCanonical(std::string_view what, std::string_view json,
                      const Json& value);

}  // namespace tributary::manifest
