#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <limits>
#include <optional>

#include "common/base/files.h"
#include "coordinator/release/public_text.h"
#include "coordinator/release/release_builder.h"

namespace tributary::coordinator {
namespace {

using testing::HasSubstr;
using testing::Optional;

std::vector<EvaluationRow> Losses(double anchor, double release) {
  return {{.text_label = "public", .model = "anchor", .log_loss = anchor},
          {.text_label = "public", .model = "release", .log_loss = release}};
}

TEST(RefuseReleaseTest, LimitsTheRiseOfPublicLogLoss) {
  EXPECT_FALSE(RefuseRelease(Losses(3, 3.05), 0.06));
  EXPECT_FALSE(RefuseRelease(Losses(3, 2), 0.0));
  EXPECT_THAT(RefuseRelease(Losses(3, 3.07), 0.06),
              Optional(HasSubstr("0.0700")));
  EXPECT_THAT(
      RefuseRelease(Losses(3, std::numeric_limits<double>::quiet_NaN()), 1),
      Optional(HasSubstr("not finite")));
  EXPECT_TRUE(RefuseRelease({}, 1));
  EXPECT_TRUE(RefuseRelease({Losses(3, 3)[0]}, 1));
}

class PublicTextTest : public testing::Test {
 protected:
  void SetUp() override {
    auto directory = TemporaryDirectory::Create("public-text");
    ASSERT_TRUE(directory.ok());
    directory_.emplace(*std::move(directory));
  }

  std::filesystem::path Write(const std::string& name,
                              const std::string& content) {
    const auto path = directory_->path() / "texts" / name;
    EXPECT_TRUE(MakeDirectories(path.parent_path()).ok());
    EXPECT_TRUE(WriteFileAtomic(path, content).ok());
    return path;
  }

  StatusOr<int64_t> Collect(const std::filesystem::path& source) {
    return CollectPublicText(source, directory_->path() / "out.jsonl");
  }

  std::optional<TemporaryDirectory> directory_;
};

TEST_F(PublicTextTest, FoldersBecomeOneFileInBytewiseOrder) {
  Write("b.txt", "second\nfile");
  Write("a/one.jsonl", "{\"text\": \"first\"}\n\n{\"text\": \" \"}\n");
  Write("ignored.md", "not text");
  EXPECT_EQ(Collect(directory_->path() / "texts").value_or(0), 2);
  EXPECT_EQ(*ReadFile(directory_->path() / "out.jsonl"),
            "{\"text\":\"first\"}\n{\"text\":\"second\\nfile\"}\n");
}

TEST_F(PublicTextTest, SaysWhatIsWrongWhere) {
  EXPECT_TRUE(absl::IsNotFound(Collect(directory_->path() / "none").status()));
  EXPECT_TRUE(absl::IsInvalidArgument(Collect(Write("a.md", "x")).status()));
  const Status latin = Collect(Write("latin.txt", "caf\xe9")).status();
  EXPECT_TRUE(absl::IsInvalidArgument(latin));
  EXPECT_THAT(std::string(latin.message()), HasSubstr("byte 3"));
  const Status field =
      Collect(Write("f.jsonl", "{\"text\": \"a\"}\n{\"body\": 1}\n")).status();
  EXPECT_THAT(std::string(field.message()), HasSubstr("f.jsonl:2"));
  const Status json = Collect(Write("j.jsonl", "{\"text\": \n")).status();
  EXPECT_THAT(std::string(json.message()), HasSubstr("j.jsonl:1"));
  EXPECT_TRUE(
      absl::IsInvalidArgument(Collect(Write("blank.txt", " \n")).status()));
}

TEST(TextClassesTest, ProseAndHeldoutAreNeeded) {
  EXPECT_TRUE(
      CheckTextClasses({{"prose", "a"}, {"heldout", "b"}, {"code", "c"}}).ok());
  EXPECT_TRUE(absl::IsInvalidArgument(CheckTextClasses({{"prose", "a"}})));
  EXPECT_TRUE(absl::IsInvalidArgument(
      CheckTextClasses({{"prose", "a"}, {"heldout", "b"}, {"prose", "c"}})));
  EXPECT_TRUE(absl::IsInvalidArgument(
      CheckTextClasses({{"prose", "a"}, {"heldout", "b"}, {"../x", "c"}})));
}

}  // namespace
}  // namespace tributary::coordinator
