-- What wrk sends: actions on lawyers that were shown before, each with an id of its own, so many a request.
-- Arguments: events a request, cases, lawyers a case, bearer token. Case N is "00000000-0000-4000-8000-" and N in
-- hexadecimal, its lawyers are adv_0, adv_1, ...

local each, cases, lawyers, token
local sent = 0
local threads = 0

function setup(thread)
  thread:set("number", threads)
  threads = threads + 1
end

function init(arguments)
  each, cases, lawyers, token = tonumber(arguments[1]), tonumber(arguments[2]), tonumber(arguments[3]), arguments[4]
  math.randomseed(os.time() + number)
end

-- An instant after the one before, as events come.
local function now()
  sent = sent + 1
  local seconds = math.floor(sent / 20000)
  return string.format("2026-10-01T%02d:%02d:%02d.%06dZ", 12 + math.floor(seconds / 3600),
    math.floor(seconds / 60) % 60, seconds % 60, sent % 20000 * 50)
end

local function event()
  local r = math.random
  return string.format(
    '{"event":"click_profile","event_id":"%08x-%04x-4%03x-8%03x-%06x%06x","ts_utc":"%s",' ..
    '"case_id":"00000000-0000-4000-8000-%012x","user_id":"0b8f7d34-51a6-4e0e-8a4a-6f1f0c2d3e4f",' ..
    '"lawyer_id":"adv_%d","rank_pos":1}',
    r(0, 0x7fffffff), r(0, 0xffff), r(0, 0xfff), r(0, 0xfff), r(0, 0xffffff), r(0, 0xffffff), now(),
    r(1, cases), r(0, lawyers - 1))
end

function request()
  local events = {}
  for at = 1, each do
    events[at] = event()
  end
  local body = each == 1 and events[1] or "[" .. table.concat(events, ",") .. "]"
  local headers = { ["content-type"] = "application/json", authorization = "Bearer " .. token }
  return wrk.format("POST", "/events", headers, body)
end

function done(summary, latency, requests)
  local errors = summary.errors
  local failed = errors.connect + errors.read + errors.write + errors.status + errors.timeout
  io.write(string.format("measured\t%d\t%d\t%d\t%f\t%f\t%f\n", summary.requests, failed, summary.duration,
    latency:percentile(50), latency:percentile(95), latency:percentile(99)))
end
