// Starts swagger-ui on the API's own description; the key is kept in this tab only.
window.ui = SwaggerUIBundle({ url: "/openapi.json", dom_id: "#swagger-ui", deepLinking: true, validatorUrl: null });
