-- The original body, from a million different patients in turn.
local patient = 100

wrk.method = "POST"
wrk.headers["Content-Type"] = "application/json"

function request()
  patient = patient + 1
  if patient > 1000099 then patient = 100 end
  return wrk.format(nil, nil, nil, '{"patientId":"' .. patient ..
    '","timestamp":"Tue Nov 01 2016 09:11:51 GMT-0500 (CDT)","medication":"Albuterol"}')
end
