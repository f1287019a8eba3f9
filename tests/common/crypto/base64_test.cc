#include "common/crypto/base64.h"

#include <gtest/gtest.h>

#include <string>

#include "common/base/random.h"
#include "common/crypto/constant_time.h"

namespace tributary::crypto {
namespace {

TEST(Base64, EncodesTheVectorsOfRfc4648) {
  const std::pair<const char*, const char*> cases[] = {{"", ""},
                                                       {"f", "Zg=="},
                                                       {"fo", "Zm8="},
                                                       {"foo", "Zm9v"},
                                                       {"foob", "Zm9vYg=="},
                                                       {"fooba", "Zm9vYmE="},
                                                       {"foobar", "Zm9vYmFy"}};
  for (const auto& [bytes, text] : cases) {
    EXPECT_EQ(EncodeBase64(bytes), text);
    EXPECT_EQ(*DecodeBase64(text), bytes);
  }
}

TEST(Base64, GivesRandomBytesBack) {
  for (size_t size = 0; size < 70; ++size) {
    const std::string bytes = RandomBytes(size);
    const StatusOr<std::string> decoded = DecodeBase64(EncodeBase64(bytes));
    ASSERT_TRUE(decoded.ok()) << decoded.status();
    EXPECT_EQ(*decoded, bytes);
  }
}

TEST(Base64, RefusesWhatIsNotTheOneSpelling) {
  for (const char* text : {"Zg", "Zg=", "Zg===", "=Zg=", "Zh==", "Zm9=", "Zm 8",
                           "Zm8=Zm8=", "Zm-_", "====", "Z===", "Zm8\n"}) {
    EXPECT_EQ(DecodeBase64(text).status().code(),
              absl::StatusCode::kInvalidArgument)
        << text;
  }
}

TEST(Hex, DecodesBothCasesAndRefusesTheRest) {
  EXPECT_EQ(*DecodeHex("00fFa1"), std::string("\x00\xff\xa1", 3));
  EXPECT_EQ(*DecodeHex(""), "");
  for (const char* text : {"0", "0g", "g0", " 0", "0x"}) {
    EXPECT_FALSE(DecodeHex(text).ok()) << text;
  }
}

TEST(ConstantTime, ComparesBytes) {
  EXPECT_TRUE(ConstantTimeEquals("", ""));
  EXPECT_TRUE(ConstantTimeEquals("secret", "secret"));
  EXPECT_FALSE(ConstantTimeEquals("secret", "secreT"));
  EXPECT_FALSE(ConstantTimeEquals("secret", "secret "));
}

}  // namespace
}  // namespace tributary::crypto
