#pragma once

#include <nanobind/nanobind.h>

#include <chrono>
#include <thread>

// Lets Python's other threads run while this one computes.
//
// When the interpreter ends, it ends a daemon thread that wants the GIL again by pthread_exit, before Python 3.14.
// That unwinds through functions which allow no exceptions, and would abort the process. Here such a thread waits
// for the end of the process instead, as Python's own do from 3.14 on.
class GilReleased {
public:
    GilReleased() : state_(PyEval_SaveThread()) {}
    ~GilReleased() {
        try {
            PyEval_RestoreThread(state_);
        } catch (...) {
            for (;;) std::this_thread::sleep_for(std::chrono::hours(1));
        }
    }
    GilReleased(const GilReleased&) = delete;
    GilReleased& operator=(const GilReleased&) = delete;

private:
    PyThreadState* const state_;
};
