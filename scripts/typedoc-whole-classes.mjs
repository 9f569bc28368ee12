// A typedoc plugin. A public class may extend one that is not exported: its page then shows all members as its own.
export function load(app) {
  const beforeHierarchies = 100;
  const show = ({ project }) => {
    const reflections = Object.values(project.reflections);
    const bases = new Set();
    for (const each of reflections) {
      const known = each.extendedTypes?.filter(base => {
        const isHidden = base.package === project.packageName && !base.reflection;
        if (isHidden) bases.add(base.name);
        return !isHidden;
      });
      if (known) each.extendedTypes = known.length > 0 ? known : undefined;
    }
    for (const each of reflections) {
      if (bases.has(each.inheritedFrom?.name.split('.')[0])) each.inheritedFrom = undefined;
    }
  };
  app.converter.on('resolveEnd', show, beforeHierarchies);
}
