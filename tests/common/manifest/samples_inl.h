#pragma once

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace tributary::manifest {

template <typename T>
void ExpectStrict(const T& value, std::initializer_list<BadEdit> edits) {
  const StatusOr<std::string> json = value.ToJson();
  ASSERT_TRUE(json.ok()) << json.status();
  const StatusOr<T> again = T::FromJson(*json);
  ASSERT_TRUE(again.ok()) << again.status();
  EXPECT_EQ(*again, value);
  EXPECT_EQ(*again->ToJson(), *json);
  EXPECT_FALSE(T::FromJson(*json + " ").ok());
  EXPECT_FALSE(T::FromJson(json->substr(0, json->size() / 2)).ok());
  for (const BadEdit& edit : edits) {
    const Status status =
        T::FromJson(Edit(*json, edit.pointer, edit.value_json)).status();
    EXPECT_TRUE(absl::IsInvalidArgument(status)) << edit.pointer << status;
    EXPECT_THAT(std::string(status.message()), testing::HasSubstr(edit.message))
        << edit.pointer;
  }
}

}  // namespace tributary::manifest
