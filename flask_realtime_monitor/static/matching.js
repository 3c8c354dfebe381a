/**
 * Whether an item is among what the viewer has chosen; the API's filters mean the same. Nothing
 * here touches the document.
 */

const AGENT = ["browser", "os", "device"];
const IN_PLACE = ["endpoint", "path"];

/** Whether any text in an item holds the needle, which is in lower case. */
export function holds(item, needle) {
  if (typeof item === "string") return item.toLowerCase().includes(needle);
  return item !== null && typeof item === "object"
    && Object.values(item).some((one) => holds(one, needle));
}

/** The same of an activity, of which the names of its data are shown, too. */
function holdsOrNames(activity, needle) {
  return holds(activity, needle) || holds(Object.keys(activity.data ?? {}), needle);
}

/** @param now the server's clock, in seconds. */
export function sessionMatches(session, view, me, now) {
  const { user } = session;
  if (view.get("mine") === "hide" && isMine(user, me)) return false;
  if (now - session.last_seen_at > view.minutes * 60 && !session.is_active) return false;
  return view.filters().every(([name, value]) => {
    switch (name) {
      case "q": return holds(session, value.trim().toLowerCase());
      case "state": return session.is_active === (value === "active");
      case "who": return Boolean(user) === (value === "users");
      case "user": return user?.id === value;
      case "status": return value !== "5xx" || session.errors > 0;
      case "kind": return true; // of what is done, not of who does it
      default:
        return (AGENT.includes(name) ? session.agent[name] : session[name]) === value;
    }
  });
}

/** @param session the session of the activity, where the page knows it. */
export function activityMatches(activity, session, view, me, now) {
  const { user } = activity;
  if (view.get("mine") === "hide" && isMine(user, me)) return false;
  if (now - activity.at > view.minutes * 60) return false;
  return view.filters().every(([name, value]) => {
    switch (name) {
      case "q": return holdsOrNames(activity, value.trim().toLowerCase());
      case "who": return Boolean(user) === (value === "users");
      case "user": return user?.id === value;
      case "status": return hasStatus(activity, value);
      case "kind": return isOfKind(activity, value);
      case "state": return session ? session.is_active === (value === "active") : false;
      default:
        if (IN_PLACE.includes(name)) return activity[name] === value;
        if (AGENT.includes(name)) return session?.agent[name] === value;
        return session?.[name] === value;
    }
  });
}

/** "page", "api" and "sign-in" are this page's words for a part, or for two, of the API's kinds. */
function isOfKind(activity, value) {
  switch (value) {
    case "page": return activity.kind === "request" && !isApi(activity);
    case "api": return activity.kind === "request" && isApi(activity);
    case "sign-in": return activity.kind === "login" || activity.kind === "logout";
    default: return activity.kind === value;
  }
}

/** Whether a part of the path or of the endpoint is named "api". */
function isApi({ endpoint, path }) {
  return /(^|\/)api(\/|$)/i.test(path ?? "") || /(^|\.)api(\.|$)/i.test(endpoint ?? "");
}

/** "5xx" is any answer of that class; an unhandled exception is one without a status, too. */
function hasStatus({ status, error }, value) {
  if (!/^[1-5]xx$/.test(value)) return String(status) === value;
  if (value === "5xx" && error) return true;
  return status !== null && Math.floor(status / 100) === Number(value[0]);
}

/** Whether somebody is the viewer. */
export function isMine(user, me) {
  return Boolean(me) && user?.id === me;
}
