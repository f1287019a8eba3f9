// Scores, overlap, pruning and the width study as a researcher runs them: both
// programs on the small anchor.

#include <sys/wait.h>

#include <cstdio>
#include <filesystem>

#include "common/base/files.h"
#include "common/base/json.h"
#include "common/safetensors/reader.h"
#include "common/safetensors/writer.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "nlohmann/json.hpp"

namespace tributary::contributor {
namespace {

namespace fs = std::filesystem;
using ::testing::HasSubstr;
using ::testing::Not;

const fs::path kFixtures = fs::path(TRIBUTARY_SOURCE_DIR) / "tests/fixtures";

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

class StudyCommandTest : public ::testing::Test {
 protected:
  std::string Path(const std::string& name) const {
    return (folder_.path() / name).string();
  }
  static std::string Text(const std::string& name) {
    return (kFixtures / "text" / (name + ".jsonl")).string();
  }
  static std::string Model() {
    return " --model " + (kFixtures / "tiny_anchor").string();
  }
  std::string Study(const std::string& more) const {
    return "study" + Model() + " --text " + Text("domain_a") + " --heldout " +
           Text("domain_a_heldout") + " --general-text " +
           Text("public_prose") +
           " --window-tokens 96 --max-windows 10 --max-windows-per-document 1"
           " --first-layer 1 --output " +
           Path("study") + " " + more;
  }
  std::string Calibrate(const std::string& text, const std::string& output,
                        const std::string& more = "") const {
    return "calibrate" + Model() + " --text " + Text(text) +
           " --window-tokens 96 --first-layer 1 --output " + Path(output) +
           " " + more;
  }
  static void MustRun(const std::string& arguments) {
    const Outcome outcome = RunProgram(arguments);
    EXPECT_EQ(outcome.code, 0) << arguments << "\n" << outcome.output;
  }
  static void MustFail(const std::string& arguments,
                       const std::string& message) {
    const Outcome outcome = RunProgram(arguments);
    EXPECT_NE(outcome.code, 0) << arguments;
    EXPECT_THAT(outcome.output, HasSubstr(message));
  }

  TemporaryDirectory folder_ = *TemporaryDirectory::Create("study-command");
};

TEST_F(StudyCommandTest, WholeStudyStoppedAndContinued) {
  const std::string study =
      Study("--widths 67%,128 --epochs 2 --learning-rate 0.003");
  MustRun(study + " --until prune");
  const fs::path teacher = Path("study/stages/teacher/result.json");
  const auto written = fs::last_write_time(teacher);
  EXPECT_FALSE(fs::exists(Path("study/index.html")));
  const Outcome outcome = RunProgram("--format json " + study);
  ASSERT_EQ(outcome.code, 0) << outcome.output;
  // What was done is kept.
  EXPECT_EQ(fs::last_write_time(teacher), written);
  const auto printed = ParseJson(outcome.output);
  ASSERT_TRUE(printed.ok()) << outcome.output;
  const nlohmann::json& widths = (*printed)["widths"];
  ASSERT_EQ(widths.size(), 6u);
  EXPECT_EQ(widths[0]["width"], 256);
  EXPECT_EQ(widths[0]["channels_by"], "domain");
  EXPECT_EQ(widths[4]["width"], 128);
  EXPECT_EQ(widths[4]["channels_by"], "general");
  EXPECT_LT((*printed)["full_log_loss"], (*printed)["anchor_log_loss"]);
  for (const nlohmann::json& row : widths) {
    // Random channels and the wider general expert are not distilled.
    const bool distilled =
        row["channels_by"] == "domain" ||
        (row["channels_by"] == "general" && row["width"] == 128);
    EXPECT_EQ(row["distilled"].is_null(), !distilled);
    EXPECT_TRUE(row["pruned"]["retention"].is_number());
    if (distilled) {
      EXPECT_LT(row["distilled"]["heldout_log_loss"],
                row["pruned"]["heldout_log_loss"]);
    }
  }
  const std::string html = *ReadFile(Path("study/index.html"));
  EXPECT_THAT(html, HasSubstr("<svg"));
  EXPECT_THAT(html, HasSubstr("Layer 3"));
  EXPECT_THAT(html, Not(HasSubstr("http-equiv")));
  EXPECT_THAT(html, Not(HasSubstr("<script")));
  EXPECT_THAT(html, Not(HasSubstr("src=")));
  for (const char* file : {"study.json", "study.txt", "loss.svg",
                           "retention.svg", "overlap/summary.svg",
                           "overlap/layer-03.svg", "overlap/overlap.json"}) {
    EXPECT_TRUE(fs::exists(Path("study") + "/" + file)) << file;
  }
  EXPECT_TRUE(fs::exists(Path("study/stages/export/domain-128.safetensors")));
  // The teacher was asked once.
  int caches = 0;
  for (const auto& entry :
       fs::recursive_directory_iterator(Path("study/stages"))) {
    caches += entry.path().string().ends_with(".teacher.safetensors") ? 1 : 0;
  }
  EXPECT_EQ(caches, 1);
}

TEST_F(StudyCommandTest, PartsMergeAndPrefixesAreSlices) {
  MustRun(Calibrate("domain_a", "whole", "--formula wanda,taylor --sums"));
  MustRun(Calibrate("domain_a", "a", "--formula wanda,taylor --shard 0/2"));
  MustRun(Calibrate("domain_a", "b", "--formula wanda,taylor --shard 1/2"));
  MustRun("calibrate" + Model() + " --merge " + Path("b") + " --merge " +
          Path("a") + " --output " + Path("merged"));
  EXPECT_EQ(*ReadFile(Path("merged")), *ReadFile(Path("whole")));

  const std::string prune =
      "prune" + Model() + " --first-layer 1 --importance " + Path("whole");
  MustRun(prune + " --formula taylor --width 256 --output " + Path("wide"));
  MustRun(prune + " --formula taylor --width 128 --output " + Path("narrow"));
  MustRun("prune" + Model() + " --first-layer 1 --expert " + Path("wide") +
          " --width 128 --output " + Path("sliced"));
  EXPECT_EQ(*ReadFile(Path("sliced")), *ReadFile(Path("narrow")));
  EXPECT_TRUE(fs::exists(Path("wide.plan.safetensors")));
  const Outcome quality = RunProgram(
      "--format json " + prune + " --quality 5 --text " + Text("domain_a") +
      " --window-tokens 96 --output " + Path("quality"));
  ASSERT_EQ(quality.code, 0) << quality.output;
  EXPECT_EQ((*ParseJson(quality.output))["widths"][2], 128);
  // The anchor's scores are not those of an expert that was made of it.
  MustFail("prune" + Model() + " --first-layer 1 --expert " + Path("wide") +
               " --importance " + Path("whole") + " --width 128 --output " +
               Path("x"),
           "got 384 scores, wanted 256");
  MustRun(Calibrate("public_prose", "prose", "--formula taylor"));
  MustRun("overlap --importance " + Path("whole") + " --importance " +
          Path("prose") + " --formula taylor --output " + Path("overlap"));
  EXPECT_TRUE(fs::exists(Path("overlap/layer-02.svg")));
}

TEST_F(StudyCommandTest, ImportsWhatItExported) {
  MustRun(Calibrate("domain_a", "importance"));
  MustRun("prune" + Model() + " --first-layer 1 --importance " +
          Path("importance") + " --width 256 --output " + Path("expert"));
  MustRun("import" + Model() + " --from " + Path("expert") + " --output " +
          Path("imported"));
  EXPECT_EQ(*ReadFile(Path("imported")), *ReadFile(Path("expert")));
  MustFail("import" + Model() + " --from " +
               (kFixtures / "tiny_anchor").string() + " --output " + Path("x"),
           "wanted a mixture of the anchor and an expert");
}

TEST_F(StudyCommandTest, BadInputIsToldOnce) {
  MustFail(Study("--widths 100"),
           "got 100, wanted a multiple of the anchor's "
           "block 128 below its 384 channels");
  MustFail(Study("--widths wide"), "got wide, wanted channels such as 512");
  MustFail(Study("--until lunch"), "wanted one of: text general_text");
  ASSERT_TRUE(WriteFileAtomic(Path("empty.txt"), "").ok());
  MustFail("study" + Model() + " --text " + Path("empty.txt") +
               " --general-text " + Text("public_prose") + " --output " +
               Path("y"),
           "got no document");
  MustFail(
      "overlap --importance " + Text("domain_a") + " --output " + Path("z"),
      "got 1 files, wanted two");
  // Scores of another anchor: the same shapes, other weights.
  const fs::path other = folder_.path() / "other";
  fs::copy(kFixtures / "tiny_anchor", other);
  std::string weights = *ReadFile(other / "model.safetensors");
  {
    const auto file = *safetensors::File::Open(other / "model.safetensors");
    const auto* tensor = file->Find("model.layers.2.mlp.up_proj.weight");
    ASSERT_NE(tensor, nullptr);
    weights[file->data_begin() + tensor->begin] ^= 1;
  }
  ASSERT_TRUE(WriteFileAtomic(other / "model.safetensors", weights).ok());
  MustRun(Calibrate("domain_a", "importance"));
  MustFail("prune --model " + other.string() +
               " --first-layer 1 --importance " + Path("importance") +
               " --width 128 --output " + Path("x"),
           "scores other channels than those of layer 2");
}

}  // namespace
}  // namespace tributary::contributor
