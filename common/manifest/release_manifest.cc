#include "common/manifest/release_manifest.h"

#include <nlohmann/json.hpp>
#include <utility>

#include "common/crypto/digest.h"
#include "common/manifest/canonical_json.h"
#include "common/manifest/json_reader.h"
#include "common/manifest/statement.h"

namespace tributary::manifest {
namespace {

constexpr std::string_view kWhat = "release manifest";
constexpr std::string_view kStatementWhat = "release statement";
constexpr JsonLimits kLimits = {.max_bytes = 16u << 20, .max_depth = 6};
constexpr size_t kMaxExperts = 4096;
constexpr size_t kMaxLayers = 1024;
constexpr double kMaxLoss = 1e6;  // nats per token
constexpr double kMaxSetting = 1e18;
constexpr std::string_view kRouterSettings[] = {
    "epochs", "lambda",      "learning_rate",      "load_balance",
    "seed",   "temperature", "windows_per_domain", "z_loss"};

Json ToValue(const ReleaseManifest& manifest) {
  Json experts = Json::array();
  for (const ReleaseManifest::Expert& expert : manifest.experts) {
    experts.push_back({{"contribution", expert.contribution},
                       {"contributor", expert.contributor},
                       {"blob", expert.blob.ToString()},
                       {"manifest_digest", expert.manifest_digest},
                       {"widths", expert.widths}});
  }
  Json value = {
      {"type", kReleaseManifestType},
      {"anchor",
       {{"name", manifest.anchor.name}, {"digest", manifest.anchor.digest}}},
      {"experts", std::move(experts)},
      {"routing",
       {{"mode", manifest.routing.mode},
        {"top_k", manifest.routing.top_k},
        {"renormalise", manifest.routing.renormalise},
        {"bias", manifest.routing.bias}}},
      {"router_blob", manifest.router_blob.ToString()}};
  if (!manifest.routing.settings.empty()) {
    value["routing"]["settings"] = manifest.routing.settings;
  }
  return value;
}

Json ToValue(const ReleaseStatement& statement) {
  Json evaluations = Json::array();
  for (const ReleaseStatement::Evaluation& evaluation : statement.evaluation) {
    evaluations.push_back({{"text_label", evaluation.text_label},
                           {"model", evaluation.model},
                           {"log_loss", evaluation.log_loss},
                           {"tokens", evaluation.tokens}});
  }
  return {{"release", statement.release},
          {"manifest_digest", statement.manifest_digest},
          {"previous_release", statement.previous_release},
          {"create_time_s", statement.create_time_s},
          {"evaluation", std::move(evaluations)}};
}

ReleaseManifest::Expert ReadExpert(const JsonReader& reader) {
  ReleaseManifest::Expert expert{
      .contribution = reader.Field("contribution").Id(),
      .contributor = reader.Field("contributor").Id(),
      .blob = reader.Field("blob").Blob(),
      .manifest_digest = reader.Field("manifest_digest").Digest(),
      .widths = {}};
  for (const JsonReader& width : reader.Field("widths").List(1, kMaxLayers)) {
    expert.widths.push_back(width.Int(0));
  }
  return expert;
}

// Names and numbers; at least one, since none is written as no object.
void ReadSettings(const JsonReader& reader, ReleaseManifest::Routing& routing) {
  for (const std::string_view name : kRouterSettings) {
    if (const auto setting = reader.OptionalField(name)) {
      routing.settings.emplace(name, setting->Number(0, kMaxSetting));
    }
  }
  if (routing.settings.empty()) {
    reader.Fail("got no setting, wanted at least one");
  }
}

void CheckExperts(const std::vector<ReleaseManifest::Expert>& experts,
                  const JsonReader& reader) {
  for (size_t i = 1; i < experts.size(); ++i) {
    if (!(experts[i - 1].contribution < experts[i].contribution)) {
      reader.Fail(fmt::format(
          "got \"{}\" behind \"{}\", wanted contributions in bytewise order",
          experts[i].contribution, experts[i - 1].contribution));
    }
    if (experts[i].widths.size() != experts[0].widths.size()) {
      reader.Fail(fmt::format(
          "got {} widths for \"{}\" and {} for \"{}\", wanted one per layer",
          experts[i].widths.size(), experts[i].contribution,
          experts[0].widths.size(), experts[0].contribution));
    }
  }
}

Subject SubjectOf(const ReleaseStatement& statement) {
  return {.name = statement.release, .sha256 = statement.manifest_digest};
}

}  // namespace

StatusOr<std::string> ReleaseManifest::ToJson() const {
  ASSIGN_OR_RETURN(std::string json, CanonicalJson(ToValue(*this)));
  RETURN_IF_ERROR(FromJson(json).status());
  return json;
}

StatusOr<ReleaseManifest> ReleaseManifest::FromJson(std::string_view json) {
  JsonDocument document(kWhat, json, kLimits);
  const JsonReader root = document.root();
  ReleaseManifest manifest;
  root.Field("type").Constant(kReleaseManifestType);
  const JsonReader anchor = root.Field("anchor");
  manifest.anchor = {.name = anchor.Field("name").Id(),
                     .digest = anchor.Field("digest").Digest()};
  for (const JsonReader& expert : root.Field("experts").List(0, kMaxExperts)) {
    manifest.experts.push_back(ReadExpert(expert));
  }
  CheckExperts(manifest.experts, root.Field("experts"));
  const JsonReader routing = root.Field("routing");
  manifest.routing = {.mode = routing.Field("mode").String(1, 64),
                      .top_k = routing.Field("top_k").Int(1, 1024),
                      .renormalise = routing.Field("renormalise").Bool(),
                      .bias = routing.Field("bias").String(1, 64)};
  if (const auto settings = routing.OptionalField("settings")) {
    ReadSettings(*settings, manifest.routing);
  }
  manifest.router_blob = root.Field("router_blob").Blob();
  RETURN_IF_ERROR(document.Finish());
  RETURN_IF_ERROR(CheckCanonical(kWhat, json, ToValue(manifest)));
  return manifest;
}

StatusOr<std::string> ReleaseManifest::Digest() const {
  ASSIGN_OR_RETURN(const std::string json, ToJson());
  return crypto::Sha256Hex(json);
}

StatusOr<std::string> ReleaseStatement::ToJson() const {
  ASSIGN_OR_RETURN(std::string json, CanonicalJson(ToValue(*this)));
  RETURN_IF_ERROR(FromJson(json).status());
  return json;
}

StatusOr<ReleaseStatement> ReleaseStatement::FromJson(std::string_view json) {
  JsonDocument document(kStatementWhat, json, kLimits);
  const JsonReader root = document.root();
  ReleaseStatement statement;
  statement.release = root.Field("release").Release();
  statement.manifest_digest = root.Field("manifest_digest").Digest();
  const JsonReader previous = root.Field("previous_release");
  statement.previous_release = previous.String(0, 64);
  if (!statement.previous_release.empty()) {
    statement.previous_release = previous.Release();
  }
  statement.create_time_s = root.Field("create_time_s").Int(0);
  for (const JsonReader& evaluation : root.Field("evaluation").List(0, 4096)) {
    statement.evaluation.push_back(
        {.text_label = evaluation.Field("text_label").String(1, 128),
         .model = evaluation.Field("model").String(1, 128),
         .log_loss = evaluation.Field("log_loss").Number(0, kMaxLoss),
         .tokens = evaluation.Field("tokens").Int(0)});
  }
  RETURN_IF_ERROR(document.Finish());
  RETURN_IF_ERROR(CheckCanonical(kStatementWhat, json, ToValue(statement)));
  return statement;
}

StatusOr<std::string> SignRelease(const ReleaseStatement& statement,
                                  const crypto::PrivateKey& signer) {
  ASSIGN_OR_RETURN(std::string json, statement.ToJson());
  return SignStatement({.kind = std::string(kReleaseKind),
                        .subjects = {SubjectOf(statement)},
                        .predicate_json = std::move(json)},
                       signer);
}

StatusOr<ReleaseStatement> OpenRelease(std::string_view envelope_json,
                                       const crypto::PublicKey& signer) {
  ASSIGN_OR_RETURN(const Statement statement,
                   OpenStatement(envelope_json, kReleaseKind, signer));
  ASSIGN_OR_RETURN(ReleaseStatement release,
                   ReleaseStatement::FromJson(statement.predicate_json));
  RETURN_IF_ERROR(CheckSubject(statement, SubjectOf(release)));
  return release;
}

}  // namespace tributary::manifest
