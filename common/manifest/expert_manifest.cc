#include "common/manifest/expert_manifest.h"

#include <nlohmann/json.hpp>
#include <set>
#include <utility>

#include "common/crypto/digest.h"
#include "common/manifest/canonical_json.h"
#include "common/manifest/json_reader.h"
#include "common/manifest/statement.h"

namespace tributary::manifest {
namespace {

constexpr std::string_view kWhat = "expert manifest";
constexpr JsonLimits kLimits = {.max_bytes = 4u << 20, .max_depth = 6};
constexpr size_t kMaxLayers = 1024;
constexpr size_t kMaxTensors = 5 * kMaxLayers;
constexpr int64_t kMaxExtent = int64_t{1} << 40;
constexpr double kMaxLoss = 1e6;  // nats per token

Json ToValue(const ExpertManifest::Method& method) {
  return {{"recipe", method.recipe},
          {"importance", method.importance},
          {"router_method", method.router_method},
          {"folded", method.folded},
          {"teacher", method.teacher},
          {"steps", method.steps},
          {"tokens", method.tokens},
          {"documents", method.documents},
          {"epochs", method.epochs},
          {"seed", method.seed},
          {"learning_rate", method.learning_rate},
          {"train_loss_first", method.train_loss_first},
          {"train_loss_last", method.train_loss_last},
          {"heldout_log_loss_anchor", method.heldout_log_loss_anchor},
          {"heldout_log_loss_own", method.heldout_log_loss_own},
          {"text_share", method.text_share},
          {"software", method.software}};
}

Json ToValue(const ExpertManifest& manifest) {
  Json tensors = Json::array();
  for (const ExpertManifest::Tensor& tensor : manifest.tensors) {
    tensors.push_back({{"name", tensor.name},
                       {"dtype", tensor.dtype},
                       {"shape", tensor.shape},
                       {"sha256", tensor.sha256}});
  }
  Json value = {
      {"type", kExpertManifestType},
      {"federation", manifest.federation},
      {"contribution", manifest.contribution},
      {"contributor", manifest.contributor},
      {"anchor_digest", manifest.anchor_digest},
      {"blob", manifest.blob.ToString()},
      {"widths", manifest.widths},
      {"tensors", std::move(tensors)},
      {"router_digest", manifest.router_digest},
      {"method", ToValue(manifest.method)},
      {"privacy",
       {{"differential_privacy", manifest.privacy.differential_privacy},
        {"minimum_documents", manifest.privacy.minimum_documents}}},
      {"approval",
       {{"approver", manifest.approval.approver},
        {"policy_version", manifest.approval.policy_version},
        {"time_s", manifest.approval.time_s},
        {"mode", manifest.approval.mode}}}};
  if (manifest.router_statistics) {
    value["router_statistics"] = manifest.router_statistics->ToString();
  }
  return value;
}

ExpertManifest::Tensor ReadTensor(const JsonReader& reader) {
  ExpertManifest::Tensor tensor{.name = reader.Field("name").String(1, 256),
                                .dtype = reader.Field("dtype").String(1, 16),
                                .shape = {},
                                .sha256 = reader.Field("sha256").Digest()};
  for (const JsonReader& extent : reader.Field("shape").List(0, 8)) {
    tensor.shape.push_back(extent.Int(0, kMaxExtent));
  }
  return tensor;
}

ExpertManifest::Method ReadMethod(const JsonReader& reader) {
  const auto loss = [&reader](std::string_view name) {
    return reader.Field(name).Number(0, kMaxLoss);
  };
  return {
      .recipe = reader.Field("recipe").String(1, 64),
      .importance = reader.Field("importance").String(0, 256),
      .router_method = reader.Field("router_method").String(1, 64),
      .folded = reader.Field("folded").Bool(),
      .teacher = reader.Field("teacher").String(0, 256),
      .steps = reader.Field("steps").Int(0),
      .tokens = reader.Field("tokens").Int(0),
      .documents = reader.Field("documents").Int(0),
      .epochs = reader.Field("epochs").Int(0),
      .seed = reader.Field("seed").Unsigned(),
      .learning_rate = reader.Field("learning_rate").Number(0, 1e6),
      .train_loss_first = loss("train_loss_first"),
      .train_loss_last = loss("train_loss_last"),
      .heldout_log_loss_anchor = loss("heldout_log_loss_anchor"),
      .heldout_log_loss_own = loss("heldout_log_loss_own"),
      .text_share = reader.Field("text_share").Number(0, 1),
      .software = reader.Field("software").String(1, 256),
  };
}

Subject SubjectOf(const ExpertManifest& manifest) {
  return {.name = manifest.contribution, .sha256 = manifest.blob.sha256};
}

StatusOr<ExpertManifest> ReadPredicate(const Statement& statement) {
  ASSIGN_OR_RETURN(ExpertManifest manifest,
                   ExpertManifest::FromJson(statement.predicate_json));
  RETURN_IF_ERROR(CheckSubject(statement, SubjectOf(manifest)));
  return manifest;
}

}  // namespace

StatusOr<std::string> ExpertManifest::ToJson() const {
  ASSIGN_OR_RETURN(std::string json, CanonicalJson(ToValue(*this)));
  RETURN_IF_ERROR(FromJson(json).status());
  return json;
}

StatusOr<ExpertManifest> ExpertManifest::FromJson(std::string_view json) {
  JsonDocument document(kWhat, json, kLimits);
  const JsonReader root = document.root();
  ExpertManifest manifest;
  root.Field("type").Constant(kExpertManifestType);
  manifest.federation = root.Field("federation").Id();
  manifest.contribution = root.Field("contribution").Id();
  manifest.contributor = root.Field("contributor").Id();
  manifest.anchor_digest = root.Field("anchor_digest").Digest();
  manifest.blob = root.Field("blob").Blob();
  if (const auto statistics = root.OptionalField("router_statistics")) {
    manifest.router_statistics = statistics->Blob();
    if (*manifest.router_statistics == manifest.blob) {
      statistics->Fail("got the expert file, wanted another one");
    }
  }
  for (const JsonReader& width : root.Field("widths").List(1, kMaxLayers)) {
    manifest.widths.push_back(width.Int(0));
  }
  std::set<std::string> names;
  for (const JsonReader& tensor : root.Field("tensors").List(1, kMaxTensors)) {
    manifest.tensors.push_back(ReadTensor(tensor));
    const std::string& name = manifest.tensors.back().name;
    if (!names.insert(name).second) {
      tensor.Field("name").Fail(fmt::format("got \"{}\" a second time", name));
    }
  }
  manifest.router_digest = root.Field("router_digest").Digest();
  manifest.method = ReadMethod(root.Field("method"));
  const JsonReader privacy = root.Field("privacy");
  manifest.privacy = {
      .differential_privacy =
          privacy.Field("differential_privacy").String(1, 256),
      .minimum_documents = privacy.Field("minimum_documents").Int(0)};
  const JsonReader approval = root.Field("approval");
  manifest.approval = {
      .approver = approval.Field("approver").String(1, 256),
      .policy_version = approval.Field("policy_version").String(0, 256),
      .time_s = approval.Field("time_s").Int(0),
      .mode = approval.Field("mode").String(1, 32)};
  if (manifest.approval.mode != "person" &&
      manifest.approval.mode != "automatic") {
    approval.Field("mode").Fail(
        fmt::format("got \"{}\", wanted \"person\" or \"automatic\"",
                    manifest.approval.mode));
  }
  RETURN_IF_ERROR(document.Finish());
  RETURN_IF_ERROR(CheckCanonical(kWhat, json, ToValue(manifest)));
  return manifest;
}

StatusOr<std::string> ExpertManifest::Digest() const {
  ASSIGN_OR_RETURN(const std::string json, ToJson());
  return crypto::Sha256Hex(json);
}

StatusOr<std::string> SignExpertManifest(const ExpertManifest& manifest,
                                         const crypto::PrivateKey& key) {
  ASSIGN_OR_RETURN(std::string json, manifest.ToJson());
  return SignStatement({.kind = std::string(kExpertKind),
                        .subjects = {SubjectOf(manifest)},
                        .predicate_json = std::move(json)},
                       key);
}

StatusOr<ExpertManifest> OpenExpertManifest(std::string_view envelope_json,
                                            const crypto::PublicKey& key) {
  ASSIGN_OR_RETURN(const Statement statement,
                   OpenStatement(envelope_json, kExpertKind, key));
  return ReadPredicate(statement);
}

StatusOr<ExpertManifest> ReadExpertManifestUnverified(
    std::string_view envelope_json) {
  ASSIGN_OR_RETURN(const Statement statement,
                   ReadStatementUnverified(envelope_json, kExpertKind));
  return ReadPredicate(statement);
}

}  // namespace tributary::manifest
