#include "common/manifest/canonical_json.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <cstdlib>
#include <nlohmann/json.hpp>
#include <string>

namespace tributary::manifest {
namespace {

using testing::HasSubstr;

TEST(CanonicalJson, HasOneSpelling) {
  const std::pair<const char*, const char*> cases[] = {
      {R"( { "b" : 1 , "a" : [ true , null ] } )",
       R"({"a":[true,null],"b":1})"},
      {R"({"ab":1,"a":2,"B":3,"é":4,"z":5})",
       R"({"B":3,"a":2,"ab":1,"z":5,"é":4})"},
      {R"("\u00e9\/\u0041\n\u0001")", "\"é/A\\n\\u0001\""},
      {"[0,-0,1e2,0.1,1.0,1E-7,18446744073709551615,-9223372036854775808]",
       "[0,0,100.0,0.1,1.0,1e-07,18446744073709551615,-9223372036854775808]"},
      {"{}", "{}"},
  };
  for (const auto& [text, canonical] : cases) {
    const StatusOr<std::string> json = CanonicalizeJson(text);
    ASSERT_TRUE(json.ok()) << json.status();
    EXPECT_EQ(*json, canonical);
    EXPECT_EQ(*CanonicalizeJson(*json), canonical);
  }
}

TEST(CanonicalJson, DoublesReadBackTheSame) {
  for (const double number :
       {0.1, 1.0 / 3, 5e-324, 1.7976931348623157e308, 2.5, 123456789.125}) {
    const StatusOr<std::string> json = CanonicalJson(Json(number));
    ASSERT_TRUE(json.ok());
    EXPECT_EQ(std::strtod(json->c_str(), nullptr), number) << *json;
  }
}

TEST(CanonicalJson, RefusesWhatJsonCannotHold) {
  EXPECT_FALSE(CanonicalJson(Json(std::nan(""))).ok());
  EXPECT_FALSE(CanonicalJson(Json{{"a", {1.0, HUGE_VAL}}}).ok());
  EXPECT_FALSE(CanonicalJson(Json("\xff")).ok());
}

TEST(StrictJson, RefusesWhatIsNotStrict) {
  const std::pair<std::string, const char*> cases[] = {
      {"", "not valid JSON at byte 1"},
      {"{}x", "not valid JSON"},
      {"{\"a\":1,}", "not valid JSON"},
      {"{'a':1}", "not valid JSON"},
      {"[NaN]", "not valid JSON"},
      {"[01]", "not valid JSON"},
      {"[1e999]", "out of range"},
      {"[\"\xff\"]", "not UTF-8 at byte 2"},
      {"[\"\\ud800\"]", "not valid JSON"},
      {R"({"a":1,"a":2})", "the key \"a\" occurs twice"},
      {R"([{"b":{"a":1,"\u0061":2}}])", "the key \"a\" occurs twice"},
      {std::string(40, '['), "deeper than 32"},
      {"// comment\n{}", "not valid JSON"},
  };
  for (const auto& [text, message] : cases) {
    const Status status = ParseJson(text).status();
    EXPECT_TRUE(absl::IsInvalidArgument(status)) << text;
    EXPECT_THAT(std::string(status.message()), HasSubstr(message)) << text;
  }
  EXPECT_TRUE(ParseJson(R"({"a":{"a":{"a":[{"a":1},{"a":1}]}}})").ok());
  EXPECT_TRUE(ParseJson("[\"[[[[{{{\\\"[\"]", {.max_depth = 1}).ok());
  EXPECT_FALSE(ParseJson("[1,2]", {.max_bytes = 4}).ok());
}

}  // namespace
}  // namespace tributary::manifest
