# Options of the build and the compiler settings of our own folders.

option(TRIBUTARY_BUILD_TESTS "Build the tests" ON)
option(TRIBUTARY_WITH_TORCH "Build the workers and their tests" ON)
option(TRIBUTARY_CUDA "Require a LibTorch with CUDA" OFF)
option(TRIBUTARY_FUZZER "Link tests/fuzz with libFuzzer; needs Clang" OFF)
set(TRIBUTARY_SANITIZER "" CACHE STRING "Value of -fsanitize=, empty for none")
set(TRIBUTARY_VENV "${CMAKE_SOURCE_DIR}/.venv" CACHE PATH
    "Virtual environment made by deploy/install_dependencies.sh")
if(DEFINED ENV{TRIBUTARY_VENV})
  set(TRIBUTARY_VENV "$ENV{TRIBUTARY_VENV}" CACHE PATH "" FORCE)
endif()

set(CMAKE_CXX_STANDARD 20)
set(CMAKE_CXX_STANDARD_REQUIRED ON)
set(CMAKE_CXX_EXTENSIONS OFF)
set(CMAKE_CXX_FLAGS_RELEASE "-O2 -DNDEBUG")
set(CMAKE_POSITION_INDEPENDENT_CODE ON)
set(CMAKE_RUNTIME_OUTPUT_DIRECTORY ${CMAKE_BINARY_DIR}/bin)
if(NOT CMAKE_BUILD_TYPE)
  set(CMAKE_BUILD_TYPE Release CACHE STRING "" FORCE)
endif()

find_program(TRIBUTARY_CCACHE ccache)
if(TRIBUTARY_CCACHE)
  # Precompiled headers are cached only when told so.
  set(CMAKE_C_COMPILER_LAUNCHER ${TRIBUTARY_CCACHE})
  set(CMAKE_CXX_COMPILER_LAUNCHER ${CMAKE_COMMAND} -E env
      CCACHE_SLOPPINESS=pch_defines,time_macros ${TRIBUTARY_CCACHE})
endif()
find_program(TRIBUTARY_MOLD mold)
if(TRIBUTARY_MOLD)
  add_link_options(-fuse-ld=mold)
endif()

# Warnings are errors on our folders, not on generated code.
add_library(tributary_warnings INTERFACE)
target_compile_options(tributary_warnings INTERFACE
  -Wall -Wextra -Werror -Wno-unused-parameter -Wno-missing-field-initializers
  # GCC 12 reports std::string concatenation falsely (its bug 105329).
  $<$<CXX_COMPILER_ID:GNU>:-Wno-restrict>
  # In a batch GCC takes the files for headers.
  $<$<AND:$<BOOL:${CMAKE_UNITY_BUILD}>,$<CXX_COMPILER_ID:GNU>>:-Wno-subobject-linkage>
  # GCC's warnings count; Clang is here for its fuzzer.
  $<$<CXX_COMPILER_ID:Clang>:-Wno-error>)

add_library(tributary_sanitizers INTERFACE)
if(TRIBUTARY_FUZZER)
  target_compile_options(tributary_sanitizers INTERFACE
    -fsanitize=fuzzer-no-link)
endif()
if(TRIBUTARY_SANITIZER)
  target_compile_options(tributary_sanitizers INTERFACE
    -fsanitize=${TRIBUTARY_SANITIZER} -fno-omit-frame-pointer
    # GCC finds overflows that are none in code that it instruments itself.
    $<$<CXX_COMPILER_ID:GNU>:-Wno-stringop-overflow>)
  target_link_options(tributary_sanitizers INTERFACE
    -fsanitize=${TRIBUTARY_SANITIZER})
  # GCC defines these macros itself; Clang has another way.
  foreach(kind IN ITEMS address thread)
    if(CMAKE_CXX_COMPILER_ID STREQUAL "Clang" AND TRIBUTARY_SANITIZER MATCHES ${kind})
      string(TOUPPER ${kind} macro)
      target_compile_definitions(tributary_sanitizers INTERFACE __SANITIZE_${macro}__=1)
    endif()
  endforeach()
endif()
