#pragma once

#include "coordinator/storage/database.h"

namespace tributary::coordinator {

// Fills an empty database with a small federation: a row of every kind and a
// contribution in every state. The same rows every time.
Status FillSampleState(Transaction& transaction);

// Expects to find what FillSampleState wrote, through the stores.
void ExpectSampleState(Transaction& transaction);

}  // namespace tributary::coordinator
