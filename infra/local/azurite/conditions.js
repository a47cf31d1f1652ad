// Decides conditions of role assignments, as permission_conditions.py reads them; a test holds the two together.
"use strict";

const number = (compare) => (left, right) => {
  const [one, other] = [left, right].map((text) => (/^\s*-?\d+(\.\d+)?\s*$/.test(text) ? Number(text) : NaN));
  return compare(one, other);
};
const lower = (decide) => (left, right) => decide(left.toLowerCase(), right.toLowerCase());
const equal = (left, right) => left === right;
const starts = (left, right) => left.startsWith(right);

function like(text, pattern) {
  const parts = [...pattern].map((sign) =>
    sign === "*" ? "[^]*" : sign === "?" ? "[^]" : sign.replace(/[.+^${}()|[\]\\/]/, "\\$&"),
  );
  return new RegExp(`^${parts.join("")}$`, "u").test(text);
}

const OPERATORS = {
  StringEquals: equal,
  StringEqualsIgnoreCase: lower(equal),
  StringStartsWith: starts,
  StringStartsWithIgnoreCase: lower(starts),
  StringLike: like,
  StringLikeIgnoreCase: lower(like),
  GuidEquals: lower(equal),
  BoolEquals: lower(equal),
  NumericEquals: number((left, right) => left === right),
  NumericLessThan: number((left, right) => left < right),
  NumericLessThanEquals: number((left, right) => left <= right),
  NumericGreaterThan: number((left, right) => left > right),
  NumericGreaterThanEquals: number((left, right) => left >= right),
};

const some = (list, test) => list.some(test);
const every = (list, test) => list.every(test);
const QUANTIFIERS = {
  ForAnyOfAnyValues: [some, some],
  ForAllOfAnyValues: [every, some],
  ForAnyOfAllValues: [some, every],
  ForAllOfAllValues: [every, every],
};

function valuesOf(side, request) {
  if (side[0] === "values") return side[1];
  const value = request.attributes[`${side[1]}:${side[2]}`.toLowerCase()];
  return value === undefined ? [] : [value];
}

function compare(quantifier, operator, left, right) {
  const negative = !(operator in OPERATORS);
  const decide = OPERATORS[negative ? operator.replace("Not", "") : operator];
  if (left.length === 0 || right.length === 0) return false;
  const [overLeft, overRight] = QUANTIFIERS[quantifier] || [some, negative ? every : some];
  return overLeft(left, (one) => overRight(right, (other) => decide(one, other) !== negative));
}

/** Decide an expression on a request. */
function holds(expression, request) {
  const [kind, ...rest] = expression;
  switch (kind) {
    case "and":
      return holds(rest[0], request) && holds(rest[1], request);
    case "or":
      return holds(rest[0], request) || holds(rest[1], request);
    case "not":
      return !holds(rest[0], request);
    case "action":
      return rest[0].some((pattern) => lower(like)(request.action, pattern));
    case "suboperation":
      return rest[0].some((name) => name.toLowerCase() === request.suboperation.toLowerCase());
    case "exists":
      return valuesOf(rest[0], request).length > 0;
    case "compare":
      return compare(rest[0], rest[1], valuesOf(rest[2], request), valuesOf(rest[3], request));
    default:
      throw new Error(`no expression: ${JSON.stringify(expression)}`);
  }
}

module.exports = { holds };
