#include "common/manifest/statement.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <string>

#include "tests/common/manifest/samples.h"

namespace tributary::manifest {
namespace {

using testing::HasSubstr;

Statement SampleStatement() {
  return {.kind = "expert",
          .subjects = {{.name = "german", .sha256 = Hex('b')}},
          .predicate_json = R"({ "b": 1, "a": {} })"};
}

TEST(Statement, HasTheseBytes) {
  const std::string json = *SampleStatement().ToJson();
  EXPECT_EQ(json, R"({"_type":"https://in-toto.io/Statement/v1",)"
                  R"("predicate":{"a":{},"b":1},)"
                  R"("predicateType":"urn:tributary:expert:v1",)"
                  R"("subject":[{"digest":{"sha256":")" +
                      Hex('b') + R"("},"name":"german"}]})");
  const StatusOr<Statement> again = Statement::FromJson(json);
  ASSERT_TRUE(again.ok()) << again.status();
  EXPECT_EQ(again->kind, "expert");
  EXPECT_EQ(again->subjects, SampleStatement().subjects);
  EXPECT_EQ(again->predicate_json, R"({"a":{},"b":1})");
}

TEST(Statement, NamesTheFieldThatIsWrong) {
  const std::string json = *SampleStatement().ToJson();
  const BadEdit edits[] = {
      {"/_type", "\"x\"", "statement: _type: got \"x\""},
      {"/predicateType", "\"urn:tributary::v1\"", "predicateType: got"},
      {"/predicateType", "\"urn:other:expert:v1\"", "predicateType: got"},
      {"/predicate", "[]", "predicate: got a list, wanted an object"},
      {"/subject", "[]", "subject: got 0 elements"},
      {"/subject/0/digest/sha256", "\"\"", "subject[0].digest.sha256: got"},
      {"/subject/0/digest/sha512", "\"\"", "digest.sha512: unknown field"},
      {"/extra", "1", "extra: unknown field"},
  };
  for (const BadEdit& edit : edits) {
    const Status status =
        Statement::FromJson(Edit(json, edit.pointer, edit.value_json)).status();
    EXPECT_TRUE(absl::IsInvalidArgument(status)) << edit.pointer;
    EXPECT_THAT(std::string(status.message()), HasSubstr(edit.message));
  }
  Statement statement = SampleStatement();
  statement.predicate_json = "{";
  EXPECT_FALSE(statement.ToJson().ok());
  statement = SampleStatement();
  statement.subjects.clear();
  EXPECT_FALSE(statement.ToJson().ok());
}

TEST(Statement, OpensOnlyWithItsKeyAndKind) {
  const auto key = *crypto::PrivateKey::Generate();
  const std::string envelope = *SignStatement(SampleStatement(), key);
  EXPECT_TRUE(OpenStatement(envelope, "expert", key.public_key()).ok());
  EXPECT_TRUE(ReadStatementUnverified(envelope, "expert").ok());
  EXPECT_TRUE(absl::IsInvalidArgument(
      OpenStatement(envelope, "release", key.public_key()).status()));
  EXPECT_TRUE(absl::IsInvalidArgument(
      ReadStatementUnverified(envelope, "release").status()));
  const auto other = *crypto::PrivateKey::Generate();
  EXPECT_TRUE(absl::IsUnauthenticated(
      OpenStatement(envelope, "expert", other.public_key()).status()));
  // A valid signature over another type of payload.
  const std::string text =
      crypto::SignEnvelope("text/plain", *SampleStatement().ToJson(), key)
          ->ToJson();
  EXPECT_TRUE(absl::IsInvalidArgument(
      OpenStatement(text, "expert", key.public_key()).status()));
}

TEST(Statement, ChecksItsSubject) {
  const Subject german{.name = "german", .sha256 = Hex('b')};
  EXPECT_TRUE(CheckSubject(SampleStatement(), german).ok());
  Statement two = SampleStatement();
  two.subjects.push_back(german);
  EXPECT_TRUE(absl::IsInvalidArgument(CheckSubject(two, german)));
  EXPECT_TRUE(absl::IsInvalidArgument(
      CheckSubject(SampleStatement(), {.name = "german", .sha256 = Hex('c')})));
  EXPECT_TRUE(absl::IsInvalidArgument(CheckSubject({}, german)));
}

}  // namespace
}  // namespace tributary::manifest
