// A constant rate of usages, each from another patient; every answer must be 201.
//
//   k6 run loadtest/k6.js
//   k6 run -e TARGET=http://localhost:3000/api/usages -e RATE=16667 -e DURATION=60s loadtest/k6.js
//
// How many usages k6 saw accepted is the count of passed checks; `dropped_iterations` are usages
// that k6 itself could not send in time.
import http from 'k6/http';
import { check } from 'k6';
import exec from 'k6/execution';
import { Rate } from 'k6/metrics';

const target = __ENV.TARGET || 'http://localhost:3000/api/usages';
const rate = Number(__ENV.RATE || 16667);
const duration = __ENV.DURATION || '60s';
const patients = Number(__ENV.PATIENTS || 1000000);
const users = Number(__ENV.USERS || 256);

const checkFailureRate = new Rate('check_failure_rate');

export const options = {
  scenarios: {
    usages: {
      executor: 'constant-arrival-rate',
      rate,
      timeUnit: '1s',
      duration,
      preAllocatedVUs: users,
      maxVUs: users,
    },
  },
  thresholds: {
    check_failure_rate: ['rate<0.01'],
  },
  discardResponseBodies: true,
  summaryTrendStats: ['avg', 'min', 'med', 'max', 'p(90)', 'p(95)', 'p(99)'],
};

const headers = { 'Content-Type': 'application/json' };

export default function () {
  const patient = 100 + (exec.scenario.iterationInTest % patients);
  const body = `{"patientId":"${patient}","timestamp":"Tue Nov 01 2016 09:11:51 GMT-0500 (CDT)","medication":"Albuterol"}`;
  const answer = http.post(target, body, { headers });
  const good = check(answer, { 'status is 201': (a) => a.status === 201 });
  checkFailureRate.add(!good);
}
