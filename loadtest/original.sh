#!/usr/bin/env bash
# The load test that inhale began with, word for word; needs `npm install --global loadtest`.
# It sends for ten seconds to a server on localhost:3000.
exec loadtest http://localhost:3000/api/usages -T "application/json" -P '{"patientId":"100","timestamp":"Tue Nov 01 2016 09:11:51 GMT-0500 (CDT)","medication":"Albuterol"}' --rps 16700
