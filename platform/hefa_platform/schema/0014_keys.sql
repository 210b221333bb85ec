-- A key is made, used and revoked; who may do what with it never changes. Rate, expiry and site are judged by the API.
REVOKE UPDATE ON api_key FROM hefa_api;
GRANT UPDATE (used_at, revoked_at) ON api_key TO hefa_api;
