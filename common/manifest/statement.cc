#include "common/manifest/statement.h"

#include <nlohmann/json.hpp>
#include <utility>

#include "common/manifest/canonical_json.h"
#include "common/manifest/json_reader.h"

namespace tributary::manifest {
namespace {

constexpr std::string_view kStatementType = "https://in-toto.io/Statement/v1";
constexpr std::string_view kTypePrefix = "urn:tributary:";
constexpr std::string_view kTypeSuffix = ":v1";
constexpr JsonLimits kLimits = {.max_bytes = 32u << 20, .max_depth = 32};

std::string PredicateType(std::string_view kind) {
  return fmt::format("{}{}{}", kTypePrefix, kind, kTypeSuffix);
}

std::string ReadKind(const JsonReader& reader) {
  const std::string type = reader.String(1, 256);
  const std::string_view view = type;
  if (view.size() <= kTypePrefix.size() + kTypeSuffix.size() ||
      !view.starts_with(kTypePrefix) || !view.ends_with(kTypeSuffix)) {
    reader.Fail(
        fmt::format("got \"{}\", wanted {}", type, PredicateType("{kind}")));
    return {};
  }
  return std::string(
      view.substr(kTypePrefix.size(),
                  view.size() - kTypePrefix.size() - kTypeSuffix.size()));
}

StatusOr<Statement> ReadPayload(const crypto::Envelope& envelope,
                                std::string_view kind) {
  if (envelope.payload_type != kPayloadType) {
    return InvalidArgument("envelope: payloadType: got \"{}\", wanted \"{}\"",
                           envelope.payload_type, kPayloadType);
  }
  ASSIGN_OR_RETURN(Statement statement, Statement::FromJson(envelope.payload));
  if (statement.kind != kind) {
    return InvalidArgument(
        "statement: predicateType: got \"{}\", wanted \"{}\"",
        PredicateType(statement.kind), PredicateType(kind));
  }
  return statement;
}

}  // namespace

StatusOr<std::string> Statement::ToJson() const {
  StatusOr<Json> predicate = ParseJson(predicate_json, kLimits);
  if (!predicate.ok()) {
    return Annotate(predicate.status(), "statement: predicate");
  }
  Json subject_list = Json::array();
  for (const Subject& subject : subjects) {
    subject_list.push_back(
        {{"name", subject.name}, {"digest", {{"sha256", subject.sha256}}}});
  }
  ASSIGN_OR_RETURN(std::string json,
                   CanonicalJson({{"_type", kStatementType},
                                  {"subject", std::move(subject_list)},
                                  {"predicateType", PredicateType(kind)},
                                  {"predicate", *std::move(predicate)}}));
  RETURN_IF_ERROR(FromJson(json).status());
  return json;
}

StatusOr<Statement> Statement::FromJson(std::string_view json) {
  JsonDocument document("statement", json, kLimits);
  const JsonReader root = document.root();
  Statement statement;
  root.Field("_type").Constant(kStatementType);
  statement.kind = ReadKind(root.Field("predicateType"));
  for (const JsonReader& subject : root.Field("subject").List(1, 10'000)) {
    statement.subjects.push_back(
        {.name = subject.Field("name").String(1, 1024),
         .sha256 = subject.Field("digest").Field("sha256").Digest()});
  }
  statement.predicate_json = root.Field("predicate").ObjectText();
  RETURN_IF_ERROR(document.Finish());
  return statement;
}

StatusOr<std::string> SignStatement(const Statement& statement,
                                    const crypto::PrivateKey& key) {
  ASSIGN_OR_RETURN(const std::string payload, statement.ToJson());
  ASSIGN_OR_RETURN(const crypto::Envelope envelope,
                   crypto::SignEnvelope(kPayloadType, payload, key));
  return envelope.ToJson();
}

StatusOr<Statement> OpenStatement(std::string_view envelope_json,
                                  std::string_view kind,
                                  const crypto::PublicKey& key) {
  ASSIGN_OR_RETURN(const crypto::Envelope envelope,
                   crypto::Envelope::FromJson(envelope_json));
  // Nothing of a payload is looked at before its signature is.
  RETURN_IF_ERROR(crypto::VerifyEnvelope(envelope, key));
  return ReadPayload(envelope, kind);
}

StatusOr<Statement> ReadStatementUnverified(std::string_view envelope_json,
                                            std::string_view kind) {
  ASSIGN_OR_RETURN(const crypto::Envelope envelope,
                   crypto::Envelope::FromJson(envelope_json));
  return ReadPayload(envelope, kind);
}

Status CheckSubject(const Statement& statement, const Subject& expected) {
  if (statement.subjects != std::vector<Subject>{expected}) {
    const Subject got =
        statement.subjects.empty() ? Subject{} : statement.subjects.front();
    return InvalidArgument(
        "statement: subject: got {} of which the first is \"{}\" {}, wanted "
        "only \"{}\" {}",
        statement.subjects.size(), got.name, got.sha256, expected.name,
        expected.sha256);
  }
  return absl::OkStatus();
}

}  // namespace tributary::manifest
