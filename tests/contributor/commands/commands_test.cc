// The program as a script meets it: exit codes, one clear message, JSON.

#include <sys/wait.h>

#include <cstdio>
#include <filesystem>
#include <optional>

#include "common/base/files.h"
#include "common/base/json.h"
#include "common/base/text.h"
#include "common/crypto/certificate_authority.h"
#include "common/manifest/invitation.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "nlohmann/json.hpp"

namespace tributary::contributor {
namespace {

namespace fs = std::filesystem;
using ::testing::HasSubstr;
using ::testing::Not;

struct Outcome {
  int code = -1;
  std::string output;  // standard output and error together
};

Outcome RunProgram(const std::string& arguments) {
  Outcome outcome;
  const std::string command = std::string(TRIBUTARY_BINARY_DIR) +
                              "/bin/tributary-contributor " + arguments +
                              " 2>&1 </dev/null";
  FILE* pipe = popen(command.c_str(), "r");
  if (pipe == nullptr) {
    return outcome;
  }
  char buffer[4096];
  while (const size_t got = fread(buffer, 1, sizeof(buffer), pipe)) {
    outcome.output.append(buffer, got);
  }
  const int status = pclose(pipe);
  outcome.code = WIFEXITED(status) ? WEXITSTATUS(status) : -1;
  return outcome;
}

class CommandsTest : public ::testing::Test {
 protected:
  void SetUp() override {
    auto folder = TemporaryDirectory::Create("commands-test");
    ASSERT_TRUE(folder.ok());
    folder_.emplace(*std::move(folder));
  }
  std::string Path(const std::string& name) const {
    return (folder_->path() / name).string();
  }
  // Runs with a home that does not exist yet.
  Outcome RunAtHome(const std::string& arguments) const {
    return RunProgram("--home " + Path("home") + " " + arguments);
  }
  // An invitation to an address where nobody listens.
  manifest::Invitation MakeInvitation() const {
    const auto ca = crypto::CertificateAuthority::CreateSelfSigned(
        "test", crypto::kDaySeconds, SystemClock());
    EXPECT_TRUE(ca.ok());
    return {.federation = "test",
            .contributor_id = "site-a",
            .address = "127.0.0.1:1",
            .secret = std::string(32, 's'),
            .expire_time_s =
                static_cast<int64_t>(SystemClock().NowSeconds()) + 3600,
            .ca_certificate_pem = ca->certificate().ToPem(),
            .ca_fingerprint = ca->certificate().fingerprint()};
  }
  std::string WriteInvitation(const manifest::Invitation& invitation) const {
    const auto json = invitation.ToJson();
    EXPECT_TRUE(json.ok()) << json.status();
    EXPECT_TRUE(WriteFileAtomic(Path("invitation.json"), *json).ok());
    return Path("invitation.json");
  }

  std::optional<TemporaryDirectory> folder_;
};

TEST_F(CommandsTest, EveryCommandExplainsItself) {
  for (const char* command : {"",
                              "init",
                              "preflight",
                              "status",
                              "run",
                              "train",
                              "calibrate",
                              "prune",
                              "distill",
                              "evaluate",
                              "export",
                              "egress",
                              "egress show",
                              "egress approve",
                              "egress ledger",
                              "submit",
                              "withdraw",
                              "withdrawal",
                              "withdrawal verify",
                              "release",
                              "release fetch",
                              "release list",
                              "model",
                              "model inspect",
                              "model logits",
                              "model evaluate",
                              "model generate",
                              "model tokenize"}) {
    const Outcome outcome = RunProgram(std::string(command) + " --help");
    EXPECT_EQ(outcome.code, 0) << command;
    EXPECT_THAT(outcome.output, HasSubstr("Usage:")) << command;
  }
}

TEST_F(CommandsTest, AWrongCommandLineIsAUsageError) {
  EXPECT_EQ(RunProgram("").code, 2);
  EXPECT_EQ(RunProgram("surprise").code, 2);
  EXPECT_EQ(RunAtHome("run --surprise").code, 2);
  EXPECT_EQ(RunAtHome("egress approve").code, 2);
  EXPECT_EQ(RunAtHome("release fetch").code, 2);
  EXPECT_EQ(RunAtHome("init --invite x --recipe magic").code, 2);
}

TEST_F(CommandsTest, AHomeThatWasNotInitialisedIsNotFound) {
  for (const char* command :
       {"run --once", "preflight", "status", "train", "egress show", "submit",
        "withdraw", "release list", "egress ledger"}) {
    const Outcome outcome = RunAtHome(command);
    EXPECT_EQ(outcome.code, 4) << command;
    EXPECT_THAT(outcome.output, HasSubstr("init --invite FILE")) << command;
  }
}

TEST_F(CommandsTest, JsonErrorsAreOneObject) {
  const Outcome outcome = RunAtHome("--format json status");
  EXPECT_EQ(outcome.code, 4);
  const auto value = ParseJson(outcome.output);
  ASSERT_TRUE(value.ok()) << outcome.output;
  EXPECT_EQ((*value)["error"]["code"], "NOT_FOUND");
}

TEST_F(CommandsTest, InitNamesWhatIsWrongWithAnInvitation) {
  Outcome outcome = RunAtHome("init --invite " + Path("none.json"));
  EXPECT_EQ(outcome.code, 4);
  EXPECT_THAT(outcome.output, HasSubstr("none.json"));

  ASSERT_TRUE(WriteFileAtomic(Path("bad.json"), "{\"type\": 1}").ok());
  outcome = RunAtHome("init --invite " + Path("bad.json"));
  EXPECT_EQ(outcome.code, 3);
  EXPECT_THAT(outcome.output, HasSubstr("bad.json"));

  manifest::Invitation invitation = MakeInvitation();
  invitation.expire_time_s = 1'000'000'000;
  outcome = RunAtHome("init --invite " + WriteInvitation(invitation));
  EXPECT_EQ(outcome.code, 5);
  EXPECT_THAT(outcome.output, HasSubstr("expired at 2001-09-09"));
}

TEST_F(CommandsTest, InitSaysThatNobodyAnswers) {
  const Outcome outcome = RunAtHome("init --retry-for 1s --invite " +
                                    WriteInvitation(MakeInvitation()));
  EXPECT_EQ(outcome.code, 7);
  EXPECT_THAT(outcome.output, HasSubstr("127.0.0.1:1"));
  EXPECT_THAT(outcome.output, HasSubstr("cannot be reached"));
  EXPECT_FALSE(fs::exists(Path("home") + "/contributor.textproto"));
  // Text derived from private text will lie here.
  EXPECT_EQ(fs::status(Path("home")).permissions(), fs::perms::owner_all);
}

TEST_F(CommandsTest, InitRefusesConfigurationsThatCannotWork) {
  const std::string invitation = WriteInvitation(MakeInvitation());
  Outcome outcome = RunAtHome("init --invite " + invitation + " --train " +
                              Path("no-such-text"));
  EXPECT_EQ(outcome.code, 4);
  EXPECT_THAT(outcome.output, HasSubstr("no-such-text"));
  outcome = RunAtHome("init --invite " + invitation +
                      " --contribution \"Not an id\"");
  EXPECT_EQ(outcome.code, 3);
  EXPECT_THAT(outcome.output, HasSubstr("contribution"));
  EXPECT_FALSE(fs::exists(Path("home") + "/identity"));
}

TEST_F(CommandsTest, StagesOnFilesNameWhatIsMissing) {
  Outcome outcome = RunProgram("prune --model " + Path("none") + " --output " +
                               Path("expert.safetensors"));
  EXPECT_EQ(outcome.code, 4);
  EXPECT_THAT(outcome.output, HasSubstr("--model"));
  outcome = RunProgram("prune --model " + std::string(TRIBUTARY_SOURCE_DIR) +
                       "/tests/fixtures/tiny_anchor --width 128 --fraction 0.5 "
                       "--output " +
                       Path("expert.safetensors"));
  EXPECT_EQ(outcome.code, 3);
  EXPECT_THAT(outcome.output, HasSubstr("--fraction"));
  outcome = RunProgram("train --model " + std::string(TRIBUTARY_SOURCE_DIR) +
                       "/tests/fixtures/tiny_anchor --text " +
                       std::string(TRIBUTARY_SOURCE_DIR) +
                       "/tests/fixtures/text/domain_a.jsonl --output " +
                       Path("expert.safetensors"));
  EXPECT_EQ(outcome.code, 6);
  EXPECT_THAT(outcome.output, HasSubstr("--router FILE"));
  EXPECT_THAT(outcome.output, Not(HasSubstr("terminate")));
}

}  // namespace
}  // namespace tributary::contributor
