#include "drop/base/text.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstdlib>
#include <limits>

namespace drop {
namespace {

using ::testing::ElementsAre;
using ::testing::IsEmpty;

using Names = std::vector<std::string>;

TEST(NearestName, FindsTheClosestOfSeveral) {
  const Names names = {"best", "grad", "best-ada", "grad-ada"};
  EXPECT_EQ(nearest_name("best", names), "best");
  EXPECT_EQ(nearest_name("bset", names), "best");
  EXPECT_EQ(nearest_name("grad-ad", names), "grad-ada");
  EXPECT_EQ(nearest_name("gradada", names), "grad-ada");
}

TEST(NearestName, IsEmptyBeyondHalfOfTheWord) {
  EXPECT_EQ(nearest_name("abcd", Names{"abxy"}), "abxy");
  EXPECT_EQ(nearest_name("abcd", Names{"axyz"}), "");
  EXPECT_EQ(nearest_name("steps", Names{"discount"}), "");
  EXPECT_EQ(nearest_name("", Names{"a"}), "");
  EXPECT_EQ(nearest_name("steps", Names{}), "");
}

TEST(Join, PutsSeparatorsBetweenParts) {
  EXPECT_EQ(join(Names{}), "");
  EXPECT_EQ(join(Names{"a"}), "a");
  EXPECT_EQ(join(Names{"a", "b", "c"}), "a, b, c");
  EXPECT_EQ(join(Names{"a", "b"}, "/"), "a/b");
  // empty parts count as well
  EXPECT_EQ(join(Names{"", "b", ""}), ", b, ");
}

TEST(Split, DropsEmptyPartsAndBlanksAtTheEnds) {
  EXPECT_THAT(split("a,b,,c"), ElementsAre("a", "b", "c"));
  EXPECT_THAT(split(" a b , c "), ElementsAre("a b", "c"));
  EXPECT_THAT(split("a"), ElementsAre("a"));
  EXPECT_THAT(split(""), IsEmpty());
  EXPECT_THAT(split(" , ,,"), IsEmpty());
  EXPECT_THAT(split("a,b;c", ';'), ElementsAre("a,b", "c"));
}

TEST(HumanBytes, ChoosesTheUnit) {
  EXPECT_EQ(human_bytes(0), "0 B");
  EXPECT_EQ(human_bytes(1023), "1023 B");
  EXPECT_EQ(human_bytes(1024), "1.0 KiB");
  EXPECT_EQ(human_bytes(1536), "1.5 KiB");
  EXPECT_EQ(human_bytes(1024.0 * 1024), "1.0 MiB");
  EXPECT_EQ(human_bytes(2.5 * 1024 * 1024 * 1024), "2.5 GiB");
  // there is no larger unit
  EXPECT_EQ(human_bytes(5000.0 * 1024 * 1024 * 1024 * 1024), "5000.0 TiB");
}

TEST(HumanDuration, ChoosesTheUnits) {
  EXPECT_EQ(human_duration(0), "0s");
  EXPECT_EQ(human_duration(4.2), "4s");
  EXPECT_EQ(human_duration(59.9), "59s");
  EXPECT_EQ(human_duration(60), "1m 00s");
  EXPECT_EQ(human_duration(65), "1m 05s");
  EXPECT_EQ(human_duration(3599), "59m 59s");
  EXPECT_EQ(human_duration(3725), "1h 02m");
  EXPECT_EQ(human_duration(100.0 * 3600), "100h 00m");
}

TEST(HumanDuration, SaysWhenItDoesNotKnow) {
  EXPECT_EQ(human_duration(std::numeric_limits<double>::infinity()), "?");
  EXPECT_EQ(human_duration(std::numeric_limits<double>::quiet_NaN()), "?");
  EXPECT_EQ(human_duration(-1), "?");
}

TEST(Shortest, IsShortAndReadsBack) {
  EXPECT_EQ(shortest(0.01), "0.01");
  EXPECT_EQ(shortest(1e-8), "1e-08");
  EXPECT_EQ(shortest(3), "3");
  EXPECT_EQ(shortest(-2.5), "-2.5");
  for (const double value :
       {0.1, 1.0 / 3, -1e300, 5e-324, std::numeric_limits<double>::max(), 123456789.123456789}) {
    EXPECT_EQ(std::strtod(shortest(value).c_str(), nullptr), value) << shortest(value);
  }
}

}  // namespace
}  // namespace drop
