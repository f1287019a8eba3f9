#include "common/tokenizer/tokenizer.h"

#include <string>
#include <vector>

#include "common/base/files.h"
#include "common/tokenizer/byte_level.h"
#include "common/tokenizer/regex.h"
#include "common/tokenizer/unicode_class.h"
#include "common/tokenizer/word_scanner.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "nlohmann/json.hpp"

namespace tributary::tokenizer {
namespace {

using nlohmann::json;
using ::testing::AllOf;
using ::testing::ElementsAre;
using ::testing::HasSubstr;

// Bytes a to z, "he", "ll", "hell" and one added token.
json Small() {
  json vocabulary;
  int id = 0;
  for (char c = 'a'; c <= 'z'; ++c) {
    vocabulary[std::string(1, c)] = id++;
  }
  for (const char* token : {"\xc4\xa0", "he", "ll", "hell"}) {
    vocabulary[token] = id++;
  }
  return {
      {"version", "1.0"},
      {"added_tokens", {{{"id", 40}, {"content", "<end>"}, {"special", true}}}},
      {"normalizer", nullptr},
      {"pre_tokenizer", {{"type", "ByteLevel"}, {"add_prefix_space", false}}},
      {"post_processor", nullptr},
      {"decoder", {{"type", "ByteLevel"}}},
      {"model",
       {{"type", "BPE"},
        {"vocab", vocabulary},
        {"merges", {"h e", "l l", "he ll"}}}},
  };
}

Status StatusOf(const json& config) {
  return Tokenizer::FromJson(config.dump()).status();
}

TEST(Tokenizer, EncodesAndDecodes) {
  const auto tokenizer = Tokenizer::FromJson(Small().dump());
  ASSERT_TRUE(tokenizer.ok()) << tokenizer.status();
  const Tokenizer& t = **tokenizer;
  EXPECT_THAT(*t.Encode("hello<end> hell"), ElementsAre(29, 14, 40, 26, 29));
  EXPECT_THAT(*t.Encode(""), ElementsAre());
  EXPECT_EQ(*t.Decode(std::vector<int32_t>{29, 14, 40, 26, 29}),
            "hello<end> hell");
  EXPECT_EQ(*t.Decode(std::vector<int32_t>{29, 40},
                      {.special = DecodeOptions::Special::kSkip}),
            "hell");
  EXPECT_EQ(t.vocab_size(), 41);
  EXPECT_EQ(t.TokenToId("<end>"), 40);
  EXPECT_EQ(t.TokenToId("hell"), 29);
  EXPECT_EQ(t.TokenToId("none"), std::nullopt);
  EXPECT_EQ(t.IdToToken(26), "\xc4\xa0");
  EXPECT_EQ(t.IdToToken(39), std::nullopt);
  EXPECT_EQ(*t.TokenBytes(26), " ");
  EXPECT_TRUE(t.IsSpecial(40));
  EXPECT_FALSE(t.IsSpecial(29));
  EXPECT_EQ(t.added_tokens().size(), 1u);
}

TEST(Tokenizer, RefusesWhatIsNotUtf8) {
  const auto tokenizer = Tokenizer::FromJson(Small().dump());
  ASSERT_TRUE(tokenizer.ok());
  for (const char* text : {"abc\xff", "abc\xc3", "abc\xed\xa0\x80"}) {
    const auto ids = (*tokenizer)->Encode(text);
    EXPECT_TRUE(absl::IsInvalidArgument(ids.status()));
    EXPECT_THAT(std::string(ids.status().message()), HasSubstr("byte 3"));
  }
}

TEST(Tokenizer, RefusesUnknownIds) {
  const auto tokenizer = Tokenizer::FromJson(Small().dump());
  ASSERT_TRUE(tokenizer.ok());
  for (const int32_t id : {-1, 39, 41, 1 << 30}) {
    EXPECT_TRUE(absl::IsInvalidArgument(
        (*tokenizer)->Decode(std::vector<int32_t>{id}).status()));
    EXPECT_FALSE((*tokenizer)->TokenBytes(id).ok());
  }
}

TEST(Tokenizer, BytesWithoutAToken) {
  json config = Small();
  // Dropped, as the tokenizers package does ...
  EXPECT_THAT(*(*Tokenizer::FromJson(config.dump()))->Encode("aXYb"),
              ElementsAre(0, 1));
  // ... unless there is a token for them.
  config["model"]["unk_token"] = "z";
  EXPECT_THAT(*(*Tokenizer::FromJson(config.dump()))->Encode("aXYb"),
              ElementsAre(0, 25, 25, 1));
  config["model"]["fuse_unk"] = true;
  EXPECT_THAT(*(*Tokenizer::FromJson(config.dump()))->Encode("aXYb"),
              ElementsAre(0, 25, 1));
}

TEST(Tokenizer, UnsupportedComponentsAreNamed) {
  const auto refused = [](const json& config, const std::string& name) {
    const Status status = StatusOf(config);
    EXPECT_TRUE(absl::IsUnimplemented(status)) << status;
    EXPECT_THAT(std::string(status.message()), HasSubstr(name));
  };
  json config = Small();
  config["normalizer"] = {{"type", "Lowercase"}};
  refused(config, "Lowercase");
  config = Small();
  config["pre_tokenizer"] = {{"type", "Metaspace"}};
  refused(config, "Metaspace");
  config["pre_tokenizer"] = nullptr;
  refused(config, "ByteLevel");
  config["pre_tokenizer"] = {
      {"type", "Sequence"},
      {"pretokenizers", {{{"type", "ByteLevel"}}, {{"type", "Digits"}}}}};
  refused(config, "Digits behind ByteLevel");
  config["pre_tokenizer"] = {{"type", "Sequence"},
                             {"pretokenizers", {{{"type", "Digits"}}}}};
  refused(config, "ByteLevel");
  config = Small();
  config["decoder"] = {{"type", "WordPiece"}};
  refused(config, "WordPiece");
  config = Small();
  config["model"]["type"] = "Unigram";
  refused(config, "Unigram");
  for (const auto& [key, value] : std::vector<std::pair<std::string, json>>{
           {"dropout", 0.1},
           {"byte_fallback", true},
           {"continuing_subword_prefix", "##"},
           {"end_of_word_suffix", "</w>"}}) {
    config = Small();
    config["model"][key] = value;
    refused(config, key);
  }
  // Only a problem for who asks for it.
  config = Small();
  config["post_processor"] = {{"type", "BertProcessing"}};
  const auto tokenizer = Tokenizer::FromJson(config.dump());
  ASSERT_TRUE(tokenizer.ok());
  EXPECT_TRUE((*tokenizer)->Encode("a").ok());
  EXPECT_TRUE(absl::IsUnimplemented(
      (*tokenizer)
          ->Encode("a", {.special_tokens = EncodeOptions::Template::kApply})
          .status()));
}

TEST(Tokenizer, BadFilesAreErrors) {
  const auto refused = [](const json& config, const std::string& what) {
    const Status status = StatusOf(config);
    EXPECT_TRUE(absl::IsInvalidArgument(status)) << status;
    EXPECT_THAT(std::string(status.message()), HasSubstr(what));
  };
  EXPECT_FALSE(Tokenizer::FromJson("").ok());
  EXPECT_FALSE(Tokenizer::FromJson("[]").ok());
  EXPECT_FALSE(Tokenizer::FromJson("{}").ok());
  json config = Small();
  config["model"]["vocab"]["a"] = -1;
  refused(config, "\"a\"");
  config["model"]["vocab"]["a"] = 1;
  refused(config, "id 1");
  config = Small();
  config["model"]["vocab"] = {1, 2};
  refused(config, "vocab");
  config = Small();
  config["model"]["merges"] = {"h e l"};
  refused(config, "merge 0");
  config["model"]["merges"] = {"h x"};
  refused(config, "the result");
  config["model"]["merges"] = json::array({json::array({"h", "H"})});
  refused(config, "the second part");
  config = Small();
  config["added_tokens"][0]["id"] = 3;
  refused(config, "<end>");
  config["added_tokens"][0].erase("content");
  refused(config, "content");
  config = Small();
  config["model"]["unk_token"] = "<unk>";
  refused(config, "<unk>");
  config = Small();
  config["pre_tokenizer"] = {{"type", "Sequence"},
                             {"pretokenizers",
                              {{{"type", "Split"},
                                {"pattern", {{"Regex", "(a"}}},
                                {"behavior", "Isolated"}},
                               {{"type", "ByteLevel"}}}}};
  refused(config, "(a");
}

TEST(Tokenizer, LoadNamesTheFile) {
  const auto folder = TemporaryDirectory::Create("tokenizer");
  ASSERT_TRUE(folder.ok());
  const auto path = folder->path() / "tokenizer.json";
  EXPECT_TRUE(absl::IsNotFound(Tokenizer::Load(path).status()));
  ASSERT_TRUE(WriteFileAtomic(path, "{").ok());
  EXPECT_THAT(std::string(Tokenizer::Load(path).status().message()),
              HasSubstr(path.string()));
  ASSERT_TRUE(WriteFileAtomic(path, Small().dump()).ok());
  EXPECT_TRUE(Tokenizer::Load(path).ok());
}

TEST(ByteLevel, AlphabetIsABijection) {
  std::string all;
  std::string spelt;
  for (int byte = 0; byte < 256; ++byte) {
    all.push_back(static_cast<char>(byte));
    spelt += ByteLevelAlphabet()[static_cast<size_t>(byte)];
  }
  EXPECT_EQ(ByteLevelDecode(spelt), all);
  EXPECT_EQ(ByteLevelAlphabet()[' '], "\xc4\xa0");
  EXPECT_EQ(ByteLevelAlphabet()['\n'], "\xc4\x8a");
  EXPECT_EQ(ByteLevelAlphabet()['~'], "~");
  EXPECT_EQ(ByteLevelDecode("a b"), std::nullopt);
}

TEST(ByteLevel, ReplacesMaximalParts) {
  const std::string r = "\xef\xbf\xbd";
  EXPECT_EQ(ReplaceInvalidUtf8("ok é"), "ok é");
  EXPECT_EQ(ReplaceInvalidUtf8("a\xff z"), "a" + r + " z");
  EXPECT_EQ(ReplaceInvalidUtf8("\xe6\x97"), r);
  EXPECT_EQ(ReplaceInvalidUtf8("\xf0\x9f\x91x"), r + "x");
  EXPECT_EQ(ReplaceInvalidUtf8("\xed\xa0\x80"), r + r + r);
  EXPECT_EQ(ReplaceInvalidUtf8("\xc0\xaf"), r + r);
  EXPECT_EQ(ReplaceInvalidUtf8("\xf4\x90\x80\x80"), r + r + r + r);
}

TEST(UnicodeClass, KnownCodePoints) {
  const uint8_t* classes = CodePointClasses();
  EXPECT_EQ(classes['a'], kLetter | kWordChar);
  EXPECT_EQ(classes['7'], kNumber | kNumeric | kWordChar);
  EXPECT_EQ(classes['_'], kWordChar);
  EXPECT_EQ(classes[0x3000], kSpace);
  EXPECT_EQ(classes[0xbd], kNumber | kNumeric);  // one half
  EXPECT_EQ(classes[0x301], kWordChar);          // combining acute accent
  EXPECT_EQ(classes[0x4e00], kLetter | kWordChar);
  EXPECT_EQ(classes[0x1f44d], 0);
}

// The scanners against the patterns that they stand for.
TEST(WordScanner, AgreesWithItsPattern) {
  const std::string text =
      "It's I'Ll we'RE 'x ''  a\t\tb \n\n c\r\nd  é\u00e9 12345 6½ $9,99 a_b\n "
      "\n\u3000 x\u00a0y !!\n?? 'ſ'ſx  \n  \n日本語12語 e\u0301 ...\r\n\r\n\tz "
      "  ";
  for (const std::string_view regex :
       {Gpt2Regex(),
        std::string_view(R"((?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?)"
                         R"(\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*)"
                         R"(|\s*[\r\n]+|\s+(?!\S)|\s+)")}) {
    const auto pattern = FindWordPattern(regex);
    ASSERT_TRUE(pattern.has_value());
    const auto compiled = Regex::Compile(std::string(regex));
    ASSERT_TRUE(compiled.ok());
    for (size_t begin = 0; begin < text.size(); ++begin) {
      if ((static_cast<unsigned char>(text[begin]) & 0xc0) == 0x80) {
        continue;
      }
      const std::string_view rest = std::string_view(text).substr(begin);
      for (size_t at = 0; at < rest.size();) {
        const auto match = compiled.value()->Find(rest, at);
        ASSERT_TRUE(match.ok() && match->has_value());
        ASSERT_EQ((*match)->first, at);
        ASSERT_EQ(WordEnd(*pattern, rest, at), (*match)->second)
            << "at " << begin + at;
        at = (*match)->second;
      }
    }
  }
  EXPECT_EQ(FindWordPattern("\\s+"), std::nullopt);
}

}  // namespace
}  // namespace tributary::tokenizer
