#include "common/manifest/anchor_manifest.h"

#include <nlohmann/json.hpp>
#include <set>
#include <utility>

#include "common/crypto/digest.h"
#include "common/manifest/canonical_json.h"
#include "common/manifest/json_reader.h"
#include "common/manifest/statement.h"

namespace tributary::manifest {
namespace {

constexpr std::string_view kWhat = "anchor manifest";
constexpr JsonLimits kLimits = {.max_bytes = 4u << 20, .max_depth = 6};
constexpr size_t kMaxFiles = 10'000;
constexpr int64_t kMaxCount = 1 << 24;

Json ToValue(const AnchorManifest& manifest) {
  Json files = Json::array();
  for (const AnchorManifest::File& file : manifest.files) {
    files.push_back({{"path", file.path}, {"blob", file.blob.ToString()}});
  }
  Json public_text = Json::array();
  for (const AnchorManifest::PublicText& text : manifest.public_text) {
    public_text.push_back({{"class", text.text_class}, {"path", text.path}});
  }
  const AnchorManifest::Model& model = manifest.model;
  const AnchorManifest::ExpertPolicy& policy = manifest.expert_policy;
  return {{"type", kAnchorManifestType},
          {"name", manifest.name},
          {"files", std::move(files)},
          {"model",
           {{"model_type", model.model_type},
            {"num_layers", model.num_layers},
            {"hidden_size", model.hidden_size},
            {"intermediate_size", model.intermediate_size},
            {"vocab_size", model.vocab_size},
            {"block", model.block}}},
          {"public_text", std::move(public_text)},
          {"expert_policy",
           {{"first_layer", policy.first_layer},
            {"max_width", policy.max_width},
            {"top_k", policy.top_k},
            {"renormalise", policy.renormalise},
            {"window_tokens", policy.window_tokens},
            {"windows_per_class", policy.windows_per_class},
            {"heldout_windows", policy.heldout_windows},
            {"sample_stride", policy.sample_stride}}}};
}

// Whether `path` stays inside the folder that it is relative to, on any
// system.
bool IsSafePath(std::string_view path) {
  if (path.empty() || path.size() > 1024) {
    return false;
  }
  for (const char c : path) {
    if (static_cast<unsigned char>(c) < 0x20 || c == 0x7f || c == '\\' ||
        c == ':') {
      return false;
    }
  }
  while (true) {
    const size_t slash = path.find('/');
    const std::string_view part = path.substr(0, slash);
    if (part.empty() || part == "." || part == ".." || part.size() > 255) {
      return false;
    }
    if (slash == std::string_view::npos) {
      return true;
    }
    path.remove_prefix(slash + 1);
  }
}

std::string ReadPath(const JsonReader& reader) {
  std::string path = reader.String(1, 1024);
  if (!IsSafePath(path)) {
    reader.Fail(fmt::format(
        "got \"{}\", wanted a relative path without \"..\" and \"\\\"", path));
  }
  return path;
}

AnchorManifest::Model ReadModel(const JsonReader& reader) {
  return {
      .model_type = reader.Field("model_type").String(1, 64),
      .num_layers = reader.Field("num_layers").Int(1, 1024),
      .hidden_size = reader.Field("hidden_size").Int(1, kMaxCount),
      .intermediate_size = reader.Field("intermediate_size").Int(1, kMaxCount),
      .vocab_size = reader.Field("vocab_size").Int(1, kMaxCount),
      .block = reader.Field("block").Int(1, kMaxCount)};
}

AnchorManifest::ExpertPolicy ReadPolicy(const JsonReader& reader,
                                        int64_t num_layers) {
  return {
      .first_layer = reader.Field("first_layer").Int(0, num_layers - 1),
      .max_width = reader.Field("max_width").Int(1, kMaxCount),
      .top_k = reader.Field("top_k").Int(1, 1024),
      .renormalise = reader.Field("renormalise").Bool(),
      .window_tokens = reader.Field("window_tokens").Int(2, kMaxCount),
      .windows_per_class = reader.Field("windows_per_class").Int(1, kMaxCount),
      .heldout_windows = reader.Field("heldout_windows").Int(1, kMaxCount),
      .sample_stride = reader.Field("sample_stride").Int(1, kMaxCount)};
}

// Paths are sorted, differ, and none is a folder of another.
void CheckPaths(const std::vector<AnchorManifest::File>& files,
                const JsonReader& reader) {
  std::set<std::string_view> paths;
  for (size_t i = 0; i < files.size(); ++i) {
    const std::string_view path = files[i].path;
    if (i > 0 && !(files[i - 1].path < path)) {
      reader.Fail(fmt::format(
          "got \"{}\" behind \"{}\", wanted paths in bytewise order", path,
          files[i - 1].path));
    }
    for (size_t slash = path.find('/'); slash != std::string_view::npos;
         slash = path.find('/', slash + 1)) {
      if (paths.contains(path.substr(0, slash))) {
        reader.Fail(fmt::format("\"{}\" is both a file and a folder",
                                path.substr(0, slash)));
      }
    }
    paths.insert(path);
  }
}

Subject SubjectOf(const AnchorManifest& manifest, std::string digest) {
  return {.name = manifest.name, .sha256 = std::move(digest)};
}

}  // namespace

StatusOr<std::string> AnchorManifest::ToJson() const {
  ASSIGN_OR_RETURN(std::string json, CanonicalJson(ToValue(*this)));
  RETURN_IF_ERROR(FromJson(json).status());
  return json;
}

StatusOr<AnchorManifest> AnchorManifest::FromJson(std::string_view json) {
  JsonDocument document(kWhat, json, kLimits);
  const JsonReader root = document.root();
  AnchorManifest manifest;
  root.Field("type").Constant(kAnchorManifestType);
  manifest.name = root.Field("name").Id();
  std::set<std::string> paths;
  for (const JsonReader& file : root.Field("files").List(1, kMaxFiles)) {
    manifest.files.push_back({.path = ReadPath(file.Field("path")),
                              .blob = file.Field("blob").Blob()});
    paths.insert(manifest.files.back().path);
  }
  CheckPaths(manifest.files, root.Field("files"));
  manifest.model = ReadModel(root.Field("model"));
  for (const JsonReader& text : root.Field("public_text").List(0, 1024)) {
    manifest.public_text.push_back({.text_class = text.Field("class").Id(),
                                    .path = ReadPath(text.Field("path"))});
    if (!paths.contains(manifest.public_text.back().path)) {
      text.Field("path").Fail(
          fmt::format("got \"{}\", wanted the path of one of the files",
                      manifest.public_text.back().path));
    }
  }
  manifest.expert_policy =
      ReadPolicy(root.Field("expert_policy"), manifest.model.num_layers);
  RETURN_IF_ERROR(document.Finish());
  RETURN_IF_ERROR(CheckCanonical(kWhat, json, ToValue(manifest)));
  return manifest;
}

StatusOr<std::string> AnchorManifest::Digest() const {
  ASSIGN_OR_RETURN(const std::string json, ToJson());
  return crypto::Sha256Hex(json);
}

StatusOr<std::string> SignAnchorManifest(const AnchorManifest& manifest,
                                         const crypto::PrivateKey& signer) {
  ASSIGN_OR_RETURN(std::string json, manifest.ToJson());
  const Subject subject = SubjectOf(manifest, crypto::Sha256Hex(json));
  return SignStatement({.kind = std::string(kAnchorKind),
                        .subjects = {subject},
                        .predicate_json = std::move(json)},
                       signer);
}

StatusOr<AnchorManifest> OpenAnchorManifest(std::string_view envelope_json,
                                            const crypto::PublicKey& signer) {
  ASSIGN_OR_RETURN(const Statement statement,
                   OpenStatement(envelope_json, kAnchorKind, signer));
  const std::string& json = statement.predicate_json;
  ASSIGN_OR_RETURN(AnchorManifest manifest, AnchorManifest::FromJson(json));
  RETURN_IF_ERROR(
      CheckSubject(statement, SubjectOf(manifest, crypto::Sha256Hex(json))));
  return manifest;
}

}  // namespace tributary::manifest
