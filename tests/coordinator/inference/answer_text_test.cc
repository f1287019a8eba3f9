#include "coordinator/inference/answer_text.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace tributary::coordinator {
namespace {

using Amount = AnswerText::Amount;

std::string TakeText(AnswerText& text, Amount amount = Amount::kSafe) {
  return text.Take(amount).text;
}

TEST(AnswerTextTest, CharactersCutInTwoWaitForTheirRest) {
  AnswerText text({});
  EXPECT_FALSE(text.Add("a\xe2\x82", nullptr));
  EXPECT_EQ(TakeText(text), "a");
  EXPECT_FALSE(text.Add("\xac!", nullptr));
  EXPECT_EQ(TakeText(text), "\xe2\x82\xac!");
}

TEST(AnswerTextTest, BytesThatAreNoTextAreReplacedInTheEnd) {
  AnswerText text({});
  text.Add("a\xe2\x82", nullptr);
  EXPECT_EQ(TakeText(text, Amount::kAll), "a\xef\xbf\xbd");
}

TEST(AnswerTextTest, NothingOfAStopTextIsHandedOut) {
  AnswerText text({"stop here", "\n\n"});
  EXPECT_FALSE(text.Add("go on, st", nullptr));
  EXPECT_EQ(TakeText(text), "go on, ");
  EXPECT_FALSE(text.Add("art\n", nullptr));
  EXPECT_EQ(TakeText(text), "start");
  EXPECT_TRUE(text.Add("\nmore", nullptr));
  EXPECT_EQ(TakeText(text, Amount::kAll), "");
}

TEST(AnswerTextTest, TheEarliestStopTextCounts) {
  AnswerText text({"three", "two"});
  EXPECT_TRUE(text.Add("one two three", nullptr));
  EXPECT_EQ(TakeText(text, Amount::kAll), "one ");
}

TEST(AnswerTextTest, StopTextsInThePromptDoNotCount) {
  AnswerText text({"stop"});
  text.AddPrompt("do not stop");
  EXPECT_FALSE(text.Add(" now", nullptr));
  EXPECT_EQ(TakeText(text), "do not stop now");
  EXPECT_TRUE(text.Add(" stop", nullptr));
  EXPECT_EQ(TakeText(text, Amount::kAll), " ");
}

TEST(AnswerTextTest, APromptThatEndsLikeAStopTextIsNotHeldBack) {
  AnswerText text({"stop"});
  text.AddPrompt("st");
  EXPECT_EQ(TakeText(text), "st");
  EXPECT_FALSE(text.Add("op", nullptr));
  EXPECT_EQ(TakeText(text), "op");
}

TEST(AnswerTextTest, TokensComeWithTheTextThatTheyBeginIn) {
  AnswerText text({"xyz"});
  text.AddPrompt(TokenScore{.id = 1, .text = "\xc3\xa9"});
  const auto add = [&](int32_t id, const std::string& bytes) {
    TokenScore token{.id = id, .text = bytes, .logprob = -1.0f};
    return text.Add(bytes, &token);
  };
  EXPECT_FALSE(add(2, "ab"));
  EXPECT_FALSE(add(3, "x"));
  AnswerPiece piece = text.Take(Amount::kSafe);
  ASSERT_EQ(piece.tokens.size(), 2);
  EXPECT_EQ(piece.tokens[0].text_offset, 0);
  EXPECT_EQ(piece.tokens[1].text_offset, 1);
  EXPECT_TRUE(add(4, "yz"));
  piece = text.Take(Amount::kAll);
  EXPECT_EQ(piece.text, "");
  EXPECT_TRUE(piece.tokens.empty());
}

TEST(AnswerTextTest, ATokenWithoutTextIsListedInTheEnd) {
  AnswerText text({});
  text.Add("a", nullptr);
  TokenScore end{.id = 2, .text = "<end>", .logprob = -0.5f};
  text.Add("", &end);
  const AnswerPiece piece = text.Take(Amount::kAll);
  EXPECT_EQ(piece.text, "a");
  ASSERT_EQ(piece.tokens.size(), 1);
  EXPECT_EQ(piece.tokens[0].text_offset, 1);
}

}  // namespace
}  // namespace tributary::coordinator
