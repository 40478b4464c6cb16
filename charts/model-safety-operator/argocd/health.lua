-- Health of SafetyEval, SafetyBlend, SafetyFinetune and GuardedDeployment for Argo CD.
-- `make generate` puts it into argocd-cm.yaml beside this file, once for each kind.
--
-- Degraded     a person has to act: Stalled, failed, a verdict or a proof that says no, a number that a verdict
--              needs and that is missing
-- Suspended    spec.suspend holds back work that is not finished
-- Progressing  the operator works or waits, or has not seen the newest generation yet
-- Healthy      Ready, and nothing is being replaced

local conditions = {}
if obj.status ~= nil and obj.status.conditions ~= nil then
  for _, condition in ipairs(obj.status.conditions) do
    conditions[condition.type] = condition
  end
end

local function is(type, status, reason)
  local condition = conditions[type]
  return condition ~= nil and condition.status == status and (reason == nil or condition.reason == reason)
end

local function health(status, condition)
  local text = ""
  if condition ~= nil then
    text = condition.reason or ""
    if condition.message ~= nil and condition.message ~= "" then
      text = text .. ": " .. condition.message
    end
  end
  return { status = status, message = text }
end

local ready = conditions.Ready
if ready == nil or (ready.observedGeneration or 0) < (obj.metadata.generation or 0) then
  return { status = "Progressing", message = "The operator has not looked at this generation yet." }
end
if is("Stalled", "True") then
  return health("Degraded", conditions.Stalled)
end
if ready.status ~= "True" and ready.reason == "Suspended" then
  return health("Suspended", ready)
end
-- Verdicts and proofs. Unknown says nothing yet (a new run of a schedule, a first proof), but for two: a number
-- that is missing for good, and a proof that has not come back for too long while users are served.
for _, type in ipairs({ "Succeeded", "SafetyPassed", "UpToDate", "GatePassed", "RailsProven", "BypassClosed" }) do
  if is(type, "False") then
    return health("Degraded", conditions[type])
  end
end
if is("SafetyPassed", "Unknown", "ScoreMissing") and ready.status == "True" then
  return health("Degraded", conditions.SafetyPassed)
end
for _, type in ipairs({ "RailsProven", "BypassClosed" }) do
  if is(type, "Unknown", "ProofOverdue") then
    return health("Degraded", conditions[type])
  end
end
if is("Reconciling", "True") then
  return health("Progressing", conditions.Reconciling)
end
if ready.status == "True" then
  return health("Healthy", ready)
end
if ready.status == "False" then
  return health("Degraded", ready)
end
return health("Progressing", ready)
